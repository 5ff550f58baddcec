package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
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

// The environment of the containers' programs.
const (
	addressVariable = "CHAOS_REPORTS" // the address for reports
	nameVariable    = "CHAOS_NAME"    // the container's name
)

// program is a process in a container.
type program struct {
	conn     *net.UnixConn
	report   report
	out, err lineWriter
	term     chan os.Signal
	failed   error // the first error of sending a report
}

// lineWriter writes numbered lines.
type lineWriter struct {
	file        *os.File
	run, stream string
	n           int
	failed      error // the last error of writing
}

// runProgram runs a process in a container. It returns the exit code.
func runProgram(args []string) int {
	p, err := newProgram(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "program:", err)
		return programFailed
	}
	p.send(reportBegin)
	code := p.run(args[0])
	p.report.Code = code
	p.send(reportEnd)
	if p.failed != nil || p.out.failed != nil || p.err.failed != nil {
		return programFailed
	}
	return code
}

// programFailed is the exit code of a program that can't send its reports or write its
// output. No other program ends with this code.
const programFailed = 111

func newProgram(args []string) (*program, error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv(addressVariable), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	created, err := createdAt()
	if err != nil {
		return nil, err
	}
	token := rand.Text()[:10]
	p := &program{conn: conn, report: report{Name: os.Getenv(nameVariable), Run: token, Created: created},
		term: make(chan os.Signal, 1)}
	if args[0] == "exec" && len(args) > 1 {
		p.report.Run, p.report.Exec = "", args[1]
	}
	p.out, p.err = lineWriter{file: os.Stdout, run: token, stream: "out"},
		lineWriter{file: os.Stderr, run: token, stream: "err"}
	signal.Notify(p.term, syscall.SIGTERM)
	return p, nil
}

// createdAt is the time when this process was created, by the clock of time.Now, at most a
// tick (10 ms) too early.
func createdAt() (int64, error) {
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

// send sends a report. The report arrives even if this process is killed right afterwards.
func (p *program) send(w reportKind) {
	e := p.report
	e.Kind, e.Out, e.Err, e.Time = w, p.out.n, p.err.n, time.Now().UnixNano()
	data, err := json.Marshal(e)
	if err == nil {
		_, err = p.conn.Write(data)
	}
	if p.failed == nil {
		p.failed = err
	}
}

// run does the work of one kind of container, and returns the exit code.
func (p *program) run(kind string) (code int) {
	code = mathrand.IntN(100)
	switch kind {
	case "short", "exec":
		p.write(mathrand.IntN(40), 10*time.Millisecond)
	case "fails":
		p.write(mathrand.IntN(20), 10*time.Millisecond)
		code++
	case "writes":
		p.write(1000+mathrand.IntN(4000), 4*time.Millisecond)
	case "idles":
		p.write(1<<30, 200*time.Millisecond)
	case withFiles:
		for _, dir := range []string{"/data", "/anonymous", "/bind", "/tmp"} {
			path := dir + "/" + p.report.Run
			p.failed = errors.Join(p.failed, os.WriteFile(path, []byte(p.report.Run), 0o600))
		}
		_, err := os.Stat("/image/chaos")
		p.failed = errors.Join(p.failed, err)
		p.write(1<<30, 200*time.Millisecond)
	case "reads":
		p.read()
	case "eats":
		p.write(mathrand.IntN(20), 5*time.Millisecond)
		p.send(reportMemory)
		p.eat()
	}
	return code
}

// write writes so many lines to stdout, and half as many to stderr, with a pause before
// each. SIGTERM ends it.
func (p *program) write(lines int, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; n <= lines; n++ {
		select {
		case <-p.term:
			return
		case <-tick.C:
		}
		p.out.line("")
		if n%2 == 0 {
			p.err.line(strings.Repeat("x", n%300))
		}
		if n%50 == 0 {
			p.send(reportLines)
		}
	}
}

// line writes a line with a single write.
func (w *lineWriter) line(text string) {
	w.n++
	if _, err := fmt.Fprintf(w.file, "%s %s %d %s\n", w.run, w.stream, w.n, text); err != nil {
		w.failed = err
	}
}

// read reports the number of each line that it reads from stdin, until stdin ends or
// SIGTERM. It skips a line that is cut off: such a line is sent again.
func (p *program) read() {
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
			p.report.Got = n
			p.out.line("got " + strconv.Itoa(n))
			p.send(reportRead)
		case <-p.term:
			return
		}
	}
}

// eat takes memory until the kernel kills the process, which must be before 4 GiB.
func (p *program) eat() {
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
