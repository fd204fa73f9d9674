#!/usr/bin/env node
// A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this program.
'use strict';
const fs = require('fs');

const proc9 = process.env.PROC9 ?? '/proc9';
const text = (file) => fs.readFileSync(file, 'utf8');

const ctl = fs.openSync(`${proc9}/clone`, 'r+'); // opening it makes the child; what is written to it builds the child
const id = Buffer.alloc(16);
fs.readSync(ctl, id);
const job = `${proc9}/${parseInt(id)}`;

function tell(lines) {
  try {
    fs.writeFileSync(ctl, lines); // goes on after a short count, which writeSync does not
  } catch {
    console.error(text(`${job}/error`).trimEnd());
    process.exit(1);
  }
}

tell('map 0x600000 4K rw- shared\n');
const memory = fs.openSync(`${job}/mem/600000`, 'r+');
fs.writeSync(memory, 'world\n');
tell(`inherit cwd
env 'GREETING=good morning'
limit NOFILE 64
fd 1 open letter w
fd 2 self:2
fd 3 mem 0x600000
exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'
`);

const ended = text(`${job}/wait`).match(/'.*'/); // PID UTIME STIME RTIME 'STATUS'
const page = Buffer.alloc(4096);
fs.readSync(memory, page); // from where it stands: behind the line written above
const [answer] = page.toString().split('\n');
console.log(`ended: ${ended}\nletter: ${text('letter')}memory: ${answer}`);
