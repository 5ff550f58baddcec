package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// lateWords is how long to read what an ended runtimed has said, if another process still has its stderr.
const lateWords = 50 * time.Millisecond

// child is one run of runtimed.
type child struct {
	argv   []string
	pid    int           // 0 if it could not be started
	err    error         // why it could not be started
	gone   chan struct{} // closed when it has ended; status is set then
	status uint32        // as wait4(2) returns it
	noted  bool          // its end is known to those who ask
	// serving says that it has come up. The supervisor's lock guards it.
	serving bool

	said func() string // returns its last words, once, after its end
}

// done is closed when the child has ended; nil, which never is, without a child.
func (c *child) done() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.gone
}

// end returns how the child ended, once.
func (c *child) end() *wire.End {
	if c.err != nil {
		return &wire.End{Time: time.Now(), Code: -1, Reason: c.err.Error()}
	}
	end := &wire.End{Time: time.Now(), Words: c.said()}
	if status := unix.WaitStatus(c.status); status.Signaled() {
		end.Code, end.Reason = 128+int(status.Signal()), fmt.Sprintf("signal %v", status.Signal())
	} else {
		end.Code, end.Reason = status.ExitStatus(), fmt.Sprintf("exit status %d", status.ExitStatus())
	}
	return end
}

// fork starts a child in a session of its own. os/exec is not used: it would wait for the child, and only the reaper
// may. The child's output goes to the log, or without one into a pipe.
func fork(argv []string, logPath string) (*child, error) {
	c := &child{argv: argv, gone: make(chan struct{})}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return c, err
	}
	defer null.Close()
	var out *os.File
	if logPath == "" {
		out, c.said, err = wordsFromPipe()
	} else {
		out, c.said, err = wordsFromLog(logPath)
	}
	if err != nil {
		return c, err
	}
	c.pid, err = syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	out.Close() // nothing was written here
	if err != nil {
		c.pid = 0
		c.said()
	}
	return c, err
}

// wordsFromLog opens the log for a child. The words are the end of the log, from here on.
func wordsFromLog(path string) (*os.File, func() string, error) {
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	before, err := log.Stat()
	if err != nil {
		log.Close()
		return nil, nil, err
	}
	return log, func() string {
		now, err := os.Stat(path)
		if err != nil || !now.Mode().IsRegular() {
			return ""
		}
		from := before.Size()
		if now.Size() < from {
			from = 0 // the log was cut
		}
		log, err := os.Open(path)
		if err != nil {
			return ""
		}
		defer log.Close()
		var t tail
		from = max(from, now.Size()-wire.MaxWords)
		_, _ = io.Copy(&t, io.NewSectionReader(log, from, now.Size()-from)) // what can't be read is not said
		return t.String()
	}, nil
}

// wordsFromPipe opens a pipe for a child, and a goroutine that keeps the last words. The goroutine ends when the
// returned function is called, which the end of the child must have preceded.
func wordsFromPipe() (*os.File, func() string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(int(w.Fd()), false); err != nil {
		return nil, nil, errors.Join(err, r.Close(), w.Close())
	}
	var t tail
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&t, r) }) // the deadline is an error, and the end
	return w, func() string {
		r.SetReadDeadline(time.Now().Add(lateWords)) // a pipe has deadlines
		reading.Wait()
		r.Close()
		return t.String()
	}, nil
}

// tail keeps the last bytes that were written.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p[max(0, len(p)-wire.MaxWords):]...)
	if n := len(t.text) - wire.MaxWords; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	return strings.TrimSpace(strings.ToValidUTF8(string(t.text), "\uFFFD"))
}
