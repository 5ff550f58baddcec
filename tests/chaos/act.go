package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The environment of what runs in a container.
const (
	ledgerVariable = "CHAOS_LEDGER" // the ledger's address
	nameVariable   = "CHAOS_NAME"   // the container's name
)

// actor is a process in a container.
type actor struct {
	conn     *net.UnixConn
	entry    entry
	out, err pen
	term     chan os.Signal
	failed   error // the first error of telling the ledger
}

// pen writes numbered lines.
type pen struct {
	file        *os.File
	run, stream string
	n           int
	failed      error // the last error of writing
}

// act is the life of a process in a container. It returns the exit code.
func act(args []string) int {
	a, err := newActor(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "act:", err)
		return failedActor
	}
	a.tell(begins)
	code := a.play(args[0])
	a.entry.Code = code
	a.tell(ends)
	if a.failed != nil || a.out.failed != nil || a.err.failed != nil {
		return failedActor
	}
	return code
}

// failedActor is the exit code of one that can't reach the ledger or write its output,
// which no other has.
const failedActor = 111

func newActor(args []string) (*actor, error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv(ledgerVariable), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	born, err := bornAt()
	if err != nil {
		return nil, err
	}
	token := rand.Text()[:10]
	a := &actor{conn: conn, entry: entry{Name: os.Getenv(nameVariable), Run: token, Born: born}, term: make(chan os.Signal, 1)}
	if args[0] == "exec" && len(args) > 1 {
		a.entry.Run, a.entry.Exec = "", args[1]
	}
	a.out, a.err = pen{file: os.Stdout, run: token, stream: "out"}, pen{file: os.Stderr, run: token, stream: "err"}
	signal.Notify(a.term, syscall.SIGTERM)
	return a, nil
}

// bornAt is when this process was created, on the clock of time.Now, at most a tick
// (10 ms) too early.
func bornAt() (int64, error) {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("proc_pid_stat(5) has %q", data)
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0, err
	}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, err
	}
	return time.Now().UnixNano() - (boot.Nano() - ticks*int64(10*time.Millisecond)), nil
}

// tell makes an entry. One that is sent is in the ledger, also if this process is
// killed next.
func (a *actor) tell(w what) {
	e := a.entry
	e.What, e.Out, e.Err, e.Time = w, a.out.n, a.err.n, time.Now().UnixNano()
	data, err := json.Marshal(e)
	if err == nil {
		_, err = a.conn.Write(data)
	}
	if a.failed == nil {
		a.failed = err
	}
}

// play does what a kind of container does.
func (a *actor) play(kind string) (code int) {
	code = mathrand.IntN(100)
	switch kind {
	case "short", "exec":
		a.write(mathrand.IntN(40), 10*time.Millisecond)
	case "fails":
		a.write(mathrand.IntN(20), 10*time.Millisecond)
		code++
	case "writes":
		a.write(1000+mathrand.IntN(4000), 4*time.Millisecond)
	case "idles":
		a.write(1<<30, 200*time.Millisecond)
	case "reads":
		a.read()
	case "eats":
		a.write(mathrand.IntN(20), 5*time.Millisecond)
		a.tell(eats)
		a.eat()
	}
	return code
}

// write writes so many lines to stdout, and half as many to stderr, one after each
// pause; SIGTERM ends it.
func (a *actor) write(lines int, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; n <= lines; n++ {
		select {
		case <-a.term:
			return
		case <-tick.C:
		}
		a.out.line("")
		if n%2 == 0 {
			a.err.line(strings.Repeat("x", n%300))
		}
		if n%50 == 0 {
			a.tell(marks)
		}
	}
}

// line writes one line with one write.
func (p *pen) line(text string) {
	p.n++
	if _, err := fmt.Fprintf(p.file, "%s %s %d %s\n", p.run, p.stream, p.n, text); err != nil {
		p.failed = err
	}
}

// read tells of each line of stdin that says which number it has, until its end or
// SIGTERM. What is cut off in a line's middle was sent again.
func (a *actor) read() {
	lines := make(chan int)
	go func() { // ends with stdin, or with the process
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var n, again int
			if _, err := fmt.Sscanf(in.Text(), "line %d %d.", &n, &again); err == nil && n == again {
				lines <- n
			}
		}
	}()
	for {
		select {
		case n, open := <-lines:
			if !open {
				return
			}
			a.entry.Got = n
			a.out.line("got " + strconv.Itoa(n))
			a.tell(gets)
		case <-a.term:
			return
		}
	}
}

// eat takes memory until the kernel ends it, which has to be before 4 GiB.
func (a *actor) eat() {
	const tooMuch = 4 << 10
	var kept [][]byte
	for len(kept) < tooMuch {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		kept = append(kept, block)
	}
}
