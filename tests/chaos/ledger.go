package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
)

// entry is what a process in a container says of itself. It is sent to a socket,
// whose other side writes it to a file: what was sent is there, whatever becomes of
// the sender, and no engine has a part in it.
type entry struct {
	// Name is the container's, Run the token of the run of its init process.
	Name, Run string
	// Exec is the token of an exec; empty for the init process.
	Exec string `json:",omitempty"`
	What what
	// Code is the exit code that an end announces.
	Code int `json:",omitempty"`
	// Out and Err count the lines that were written to stdout and stderr.
	Out, Err int `json:",omitempty"`
	// Got is the number of the line that was read from stdin.
	Got int `json:",omitempty"`
	// Born is when the process was created, Time when the entry was made, in
	// nanoseconds since 1970.
	Born, Time int64
}

// what an entry tells.
type what string

const (
	begins what = "begin" // the first word
	marks  what = "mark"  // so many lines are written
	gets   what = "get"   // a line was read
	eats   what = "eat"   // the process takes more memory than there is
	ends   what = "end"   // the last word
)

// ledger collects the entries.
type ledger struct {
	conn *net.UnixConn
	file *os.File
	done chan struct{} // closed when nobody writes the ledger any more

	mu   sync.Mutex
	runs map[string][]*run // by container, in the order of their births
	err  error
}

// run is what a process in a container has said of itself.
type run struct {
	token, exec   string
	born          int64
	ended, eating bool
	code          int
	out, err, got int
}

// openLedger listens at an abstract address and writes what comes to a file.
func openLedger(address, path string) (*ledger, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l := &ledger{conn: conn, file: file, done: make(chan struct{}), runs: map[string][]*run{}}
	go l.collect() // ends with the connection
	return l, nil
}

// close ends the collection.
func (l *ledger) close() error {
	err := l.conn.Close()
	<-l.done
	return errors.Join(l.err, err, l.file.Close())
}

func (l *ledger) collect() {
	defer close(l.done)
	buf := make([]byte, 64<<10)
	for {
		n, _, err := l.conn.ReadFromUnix(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			err = l.take(buf[:n])
		}
		if err != nil {
			l.mu.Lock()
			l.err = errors.Join(l.err, err)
			l.mu.Unlock()
		}
	}
}

func (l *ledger) take(data []byte) error {
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("the ledger got %q: %w", data, err)
	}
	_, err := l.file.Write(append(data, '\n'))
	l.mu.Lock()
	defer l.mu.Unlock()
	token := e.Run
	if e.Exec != "" {
		token = e.Exec
	}
	var r *run
	for _, known := range l.runs[e.Name] {
		if known.token == token {
			r = known
		}
	}
	if r == nil {
		r = &run{token: token, exec: e.Exec, born: e.Born}
		l.runs[e.Name] = append(l.runs[e.Name], r)
	}
	if e.What == gets && e.Got != r.got && e.Got != r.got+1 {
		err = errors.Join(err, fmt.Errorf("container %s has read line %d after line %d", e.Name, e.Got, r.got))
	}
	r.out, r.err, r.got = max(r.out, e.Out), max(r.err, e.Err), max(r.got, e.Got)
	r.ended, r.eating = r.ended || e.What == ends, r.eating || e.What == eats
	r.code += e.Code // only an end has one
	return err
}

// of returns the runs of a container's init process, or of its execs, in the order
// of their births.
func (l *ledger) of(name string, execs bool) []run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []run
	for _, r := range l.runs[name] {
		if (r.exec != "") == execs {
			list = append(list, *r)
		}
	}
	slices.SortFunc(list, func(a, b run) int { return cmp.Compare(a.born, b.born) })
	return list
}

// hasEnded tells whether a process has said its last word.
func (l *ledger) hasEnded(name, token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.runs[name], func(r *run) bool { return r.token == token && r.ended })
}

// heard is the number of the last line that a container has read.
func (l *ledger) heard(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.runs[name] {
		n = max(n, r.got)
	}
	return n
}
