// A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this program.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strings"
)

var job string

func must[T any](value T, err error) T {
	if err != nil {
		reason, _ := os.ReadFile(job + "/error")
		log.Fatalf("%v\n%s", err, reason)
	}
	return value
}

func main() {
	proc9 := os.Getenv("PROC9")
	if proc9 == "" {
		proc9 = "/proc9"
	}
	ctl := must(os.OpenFile(proc9+"/clone", os.O_RDWR, 0)) // makes the child; what is written to it builds the child
	job = proc9 + "/" + strings.TrimSpace(must(bufio.NewReader(ctl).ReadString('\n')))
	must(ctl.WriteString("inherit cwd\nlimit NOFILE 64\nmap 0x600000 4K rw- shared\n"))
	memory := must(os.OpenFile(job+"/mem/600000", os.O_RDWR, 0))
	must(memory.WriteString("world\n"))
	must(ctl.WriteString(`env 'GREETING=good morning'
fd 1 open letter w
fd 2 self:2
fd 3 mem 0x600000
exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'`))
	fmt.Print("ended: ", strings.SplitN(string(must(os.ReadFile(job+"/wait"))), " ", 5)[4]) // after PID UTIME STIME RTIME
	fmt.Printf("letter: %smemory: %s", must(os.ReadFile("letter")), must(bufio.NewReader(memory).ReadString('\n')))
}
