// A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this program.
use std::fs::{read_to_string, File, OpenOptions};
use std::io::{BufRead, BufReader, Result, Write};

const CHILD: &str = "env 'GREETING=good morning'
fd 1 open letter w
fd 2 self:2
fd 3 mem 0x600000
exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'
";

fn open(name: String) -> Result<File> {
    OpenOptions::new().read(true).write(true).open(name)
}

fn line(file: &File) -> Result<String> {
    BufReader::new(file).lines().next().expect("a line")
}

fn tell(mut ctl: &File, job: &str, lines: &str) {
    if ctl.write_all(lines.as_bytes()).is_err() {
        eprint!("{}", read_to_string(format!("{job}/error")).unwrap_or_default());
        std::process::exit(1);
    }
}

fn main() -> Result<()> {
    let proc9 = std::env::var("PROC9").unwrap_or("/proc9".into());
    let ctl = open(format!("{proc9}/clone"))?; // makes the child; what is written to it builds the child
    let job = format!("{proc9}/{}", line(&ctl)?);
    tell(&ctl, &job, "inherit cwd\nlimit NOFILE 64\nmap 0x600000 4K rw- shared\n");
    let mut memory = open(format!("{job}/mem/600000"))?;
    memory.write_all(b"world\n")?;
    tell(&ctl, &job, CHILD);
    let ended = read_to_string(format!("{job}/wait"))?; // PID UTIME STIME RTIME 'STATUS'
    print!("ended: {}", ended.splitn(5, ' ').last().unwrap());
    println!("letter: {}memory: {}", read_to_string("letter")?, line(&memory)?);
    Ok(())
}
