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

// report is a message from a process in a container. It is sent as a datagram to a socket,
// and the receiver writes it to a file. So it arrives even if the sender is killed, and
// the engine has no part in it.
type report struct {
	// Name is the name of the container, Run the token of this run of its init process.
	Name, Run string
	// Exec is the token of an exec; empty for the init process.
	Exec string `json:",omitempty"`
	Kind reportKind
	// Code is the exit code that the process is about to end with.
	Code int `json:",omitempty"`
	// Out and Err count the lines written to stdout and stderr so far.
	Out, Err int `json:",omitempty"`
	// Got is the number of the last line read from stdin.
	Got int `json:",omitempty"`
	// Created is the time when the process was created, Time that of the report, in
	// nanoseconds since 1970.
	Created, Time int64
}

// reportKind is the reason of a report.
type reportKind string

const (
	reportBegin  reportKind = "begin" // the process begins
	reportLines  reportKind = "mark"  // some more lines were written
	reportRead   reportKind = "get"   // a line was read
	reportMemory reportKind = "eat"   // the process is about to run out of memory
	reportEnd    reportKind = "end"   // the process is about to end
)

// reports collects the reports.
type reports struct {
	conn *net.UnixConn
	file *os.File
	done chan struct{} // closed when no report comes any more

	mu   sync.Mutex
	runs map[string][]*run // by container, in the order of their creation
	err  error
}

// run is the sum of the reports of one process.
type run struct {
	token, exec   string
	created       int64
	ended, eating bool
	code          int
	out, err, got int
}

// listenForReports listens at an abstract socket address and writes all reports to a file.
func listenForReports(address, path string) (*reports, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l := &reports{conn: conn, file: file, done: make(chan struct{}), runs: map[string][]*run{}}
	go l.collect() // ends with the connection
	return l, nil
}

// close ends the collection of reports.
func (l *reports) close() error {
	err := l.conn.Close()
	<-l.done
	return errors.Join(l.err, err, l.file.Close())
}

func (l *reports) collect() {
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

func (l *reports) take(data []byte) error {
	var e report
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("received the report %q: %w", data, err)
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
		r = &run{token: token, exec: e.Exec, created: e.Created}
		l.runs[e.Name] = append(l.runs[e.Name], r)
	}
	if e.Kind == reportRead && e.Got != r.got && e.Got != r.got+1 {
		err = errors.Join(err, fmt.Errorf("container %s has read line %d after line %d", e.Name, e.Got, r.got))
	}
	r.out, r.err, r.got = max(r.out, e.Out), max(r.err, e.Err), max(r.got, e.Got)
	r.ended, r.eating = r.ended || e.Kind == reportEnd, r.eating || e.Kind == reportMemory
	r.code += e.Code // only the report of an end has one
	return err
}

// runsOf returns the runs of a container's init process, or its execs, in the order of
// their creation.
func (l *reports) runsOf(name string, execs bool) []run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []run
	for _, r := range l.runs[name] {
		if (r.exec != "") == execs {
			list = append(list, *r)
		}
	}
	slices.SortFunc(list, func(a, b run) int { return cmp.Compare(a.created, b.created) })
	return list
}

// hasEnded is true if a process has reported its end.
func (l *reports) hasEnded(name, token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.runs[name], func(r *run) bool { return r.token == token && r.ended })
}

// lastRead is the number of the last line that a container has read.
func (l *reports) lastRead(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.runs[name] {
		n = max(n, r.got)
	}
	return n
}
