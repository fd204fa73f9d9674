"""Small x86-64 programs that need nothing but the pages they stand on."""
import os
import struct

CODE = 0x400000
DATA = 0x600000

EXIT_WITH_RDI = bytes.fromhex("b83c000000 0f05")           # mov eax, SYS_exit; syscall
PAUSE_FOR_EVER = bytes.fromhex("b822000000 0f05 ebf7")     # mov eax, SYS_pause; syscall; jmp back
LOOP = bytes.fromhex("ebfe")                               # jmp self

# The number of each register in an instruction.
REGISTERS = {name: n for n, name in enumerate(
    "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split())}


def hello(text, status):
    """write(1, text); exit_group(status)"""
    code = struct.pack("<BIBI", 0xB8, 1, 0xBF, 1)              # mov eax, SYS_write; mov edi, 1
    code += b"\x48\x8d\x35" + struct.pack("<I", 19)            # lea rsi, [rip + 19]
    code += struct.pack("<BI", 0xBA, len(text)) + b"\x0f\x05"  # mov edx, len; syscall
    code += struct.pack("<BIBI", 0xBF, status, 0xB8, 231) + b"\x0f\x05"
    return code + text


def store(register, address):
    """mov [address], register"""
    n = REGISTERS[register]
    return bytes([0x4C if n > 7 else 0x48, 0x89, (n & 7) << 3 | 4, 0x25]) + struct.pack("<I", address)


def store_all_registers(address):
    """Stores the sixteen registers, eight bytes each in the order of REGISTERS; exit_group(0)."""
    code = b"".join(store(name, address + 8 * n) for name, n in REGISTERS.items())
    return code + bytes.fromhex("31ff b8e7000000 0f05")


def count_until_told(address):
    """Counts up the number at the address; ends when the number after it is not zero, with that as its status."""
    code = b"\x48\xff\x04\x25" + struct.pack("<I", address)       # inc qword [address]
    code += b"\x48\x8b\x04\x25" + struct.pack("<I", address + 8)  # mov rax, [address + 8]
    code += bytes.fromhex("4885c0 74eb")                          # test rax, rax; jz to the start
    return code + bytes.fromhex("89c7 b8e7000000 0f05")           # exit_group(rax)


def load(embryo, code, address=CODE):
    """Puts code into a region of its own, with files only."""
    path = embryo.P("mem", f"{address:x}")
    with open(path, "wb") as f:
        f.write(code)
    os.chmod(path, 0o500)
