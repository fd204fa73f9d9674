def pytest_addoption(parser):
    parser.addoption("--build", required=True, help="the build directory of that architecture")
    parser.addoption("--emulator", default="", help="how its programs are run; none: it is this machine's")
