package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// command is one line of a script.
type command struct {
	verb string
	args []string
}

// parse reads the script in a process's arguments: sh, -c, SCRIPT. For other arguments it returns the errors of a
// real runtime: for "/" that of a directory, else that of a program that doesn't exist.
func parse(args []string) ([]command, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("no command: %w", errdefs.ErrInvalidArgument)
	}
	if args[0] == "/" {
		return nil, fmt.Errorf("exec: %q: permission denied: %w", args[0], errdefs.ErrUnknown)
	}
	if len(args) != 3 || args[0] != "sh" || args[1] != "-c" {
		return nil, fmt.Errorf("exec: %q: executable file not found in $PATH: %w", args[0], errdefs.ErrUnknown)
	}
	var script []command
	for line := range strings.FieldsFuncSeq(args[2], func(r rune) bool { return r == ';' || r == '\n' }) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		script = append(script, command{words[0], words[1:]})
	}
	return script, nil
}

// run executes a script from its position until the script exits or ctx ends, and returns the exit status.
func (p *proc) run(ctx context.Context, script []command) int {
	for {
		p.stepping.Lock()
		at := p.at
		p.stepping.Unlock()
		if !p.task.thawed(ctx) {
			return p.killed(ctx)
		}
		if at == len(script) {
			return 0
		}
		if status, ended := p.step(ctx, script[at]); ended {
			return status
		}
	}
}

// step executes one command and advances the position. An echo writes its output and advances the position under
// one lock, so that a checkpoint has both or neither.
func (p *proc) step(ctx context.Context, c command) (status int, ended bool) {
	if c.verb != "echo" {
		status, ended = p.do(ctx, c)
	}
	p.stepping.Lock()
	defer p.stepping.Unlock()
	if ctx.Err() != nil && !ended {
		return p.killed(ctx), true
	}
	if c.verb == "echo" {
		p.output(strings.Join(c.args, " ") + "\n")
	}
	p.at++
	return status, ended
}

func (p *proc) do(ctx context.Context, c command) (status int, ended bool) {
	switch c.verb {
	case "exit":
		return number(c.args) & 0xff, true
	case "trap":
		p.trap(c.args)
		return 0, false
	case "wait":
		<-ctx.Done()
		return p.killed(ctx), true
	case "sleep":
		if slices.Contains(c.args, "&") {
			return 0, false
		}
		ended = !sleep(ctx, c.args)
		return p.killed(ctx), ended
	case "cat":
		ended = !p.cat(ctx)
		return p.killed(ctx), ended
	case "kill":
		return (128 - number(c.args)) & 0xff, true
	}
	p.output(c.verb + ": not found\n")
	return 127, true
}

func number(args []string) int {
	if len(args) == 0 {
		return 0
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return 2
	}
	return n
}

func sleep(ctx context.Context, args []string) bool {
	if len(args) == 0 {
		return true
	}
	seconds, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return true
	}
	t := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// cat copies stdin to stdout until stdin ends. It returns false if ctx ended before.
func (p *proc) cat(ctx context.Context) bool {
	if p.streams.stdin == nil {
		return true
	}
	stopped := false
	stop := context.AfterFunc(ctx, func() {
		p.streams.stdin.mu.Lock()
		stopped = true
		p.streams.stdin.mu.Unlock()
		p.streams.stdin.moved.Broadcast()
	})
	defer stop()
	b := make([]byte, 4096)
	for {
		n, err := p.streams.stdin.read(b, &stopped)
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		p.output(string(b[:n]))
	}
}

func (p *proc) output(s string) {
	if p.streams.stdout != nil {
		p.streams.stdout.write([]byte(s))
	}
}

// signalled is the cause with which a signal ends the context of a process.
type signalled struct{ sig syscall.Signal }

func (s signalled) Error() string { return s.sig.String() }

// ignored is the value in traps of a signal that is ignored.
const ignored = -1

// trap sets a trap from the words after the command: "exit N" TERM, or "" TERM.
func (p *proc) trap(args []string) {
	code := ignored
	if len(args) == 3 && args[0] == `"exit` {
		code = number([]string{strings.Trim(args[1], `"`)}) & 0xff
	}
	p.task.daemon.mu.Lock()
	defer p.task.daemon.mu.Unlock()
	p.traps = map[syscall.Signal]int{syscall.SIGTERM: code}
}

// killed returns the exit status of a process that a signal ended.
func (p *proc) killed(ctx context.Context) int {
	s := signalled{syscall.SIGKILL}
	errors.As(context.Cause(ctx), &s)
	p.task.daemon.mu.Lock()
	defer p.task.daemon.mu.Unlock()
	if code, trapped := p.traps[s.sig]; trapped {
		return code
	}
	return 128 + int(s.sig)
}
