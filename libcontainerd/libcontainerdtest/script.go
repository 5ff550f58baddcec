package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// parse reads a process's arguments: sh -c SCRIPT. Anything else is what a
// runtime says of a binary that isn't there.
func parse(args []string) ([]command, error) {
	if len(args) != 3 || args[0] != "sh" || args[1] != "-c" {
		return nil, fmt.Errorf("exec: %q: executable file not found in $PATH: %w", args, errdefs.ErrUnknown)
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

// run interprets a script until it exits or ctx ends, and returns its status.
func (p *proc) run(ctx context.Context, script []command) int {
	for _, c := range script {
		if !p.task.thawed(ctx) {
			return killed(ctx)
		}
		switch c.verb {
		case "exit":
			return number(c.args)
		case "sleep":
			if !sleep(ctx, c.args) {
				return killed(ctx)
			}
		case "echo":
			p.output(strings.Join(c.args, " ") + "\n")
		case "cat":
			if !p.cat(ctx) {
				return killed(ctx)
			}
		case "kill":
			return 128 + -number(c.args)
		default:
			p.output(c.verb + ": not found\n")
			return 127
		}
	}
	if !p.task.thawed(ctx) {
		return killed(ctx)
	}
	return 0
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

// cat copies stdin to stdout until stdin ends; without one at once.
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

// signalled is why the context of a process ended.
type signalled struct{ sig syscall.Signal }

func (s signalled) Error() string { return s.sig.String() }

func killed(ctx context.Context) int {
	var s signalled
	if errors.As(context.Cause(ctx), &s) {
		return 128 + int(s.sig)
	}
	return 128 + int(syscall.SIGKILL)
}
