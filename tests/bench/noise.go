package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What is measured is the way of a line into a container and back: through attach to an engine's `cat`, through pipes to a
// bare runtime's. It goes in blocks, in turn: with nothing beside it; beside a container that writes as fast as whoever has its
// stdout takes it; and beside one that runs the same program with its stdout on /dev/null. The last has nothing to do with
// any engine: it is what a busy processor costs by itself.
const (
	echoBlocks = 3 // of each kind
	echoTimes  = 150
	echoEvery  = time.Millisecond // the pause before each line: who sends it is not one more who is busy
	// noiseAhead is how many bytes have been written when a block begins.
	noiseAhead = 32 << 20
)

const (
	aside   = "echo-aside" // beside a container whose output is taken
	busied  = "echo-busied"
	aLine   = "a line of sixty-four bytes, such as somebody would type to cat.\n"
	nullYes = `exec yes "$0" >/dev/null`
)

var (
	echoArgs  = []string{"cat"}
	noiseText = strings.Repeat("as fast as it can ", 5)
	noiseArgs = map[string][]string{aside: {"yes", noiseText}, busied: {"sh", "-c", nullYes, noiseText}}
)

// noise is a container that writes without end.
type noise struct {
	pid    int
	silent func() error // ends it
}

// echoes measures the way of lines, with noise beside it and without.
func echoes(ctx context.Context, in io.Writer, out io.Reader, begin func(kind string) (*noise, error)) (figures, error) {
	times := map[string][]float64{}
	for range echoBlocks {
		for _, kind := range []string{"echo", aside, busied} {
			all, err := block(ctx, in, out, kind, begin)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			times[kind] = append(times[kind], all...)
		}
	}
	alone := median(times["echo"])
	return figures{"echo": alone, aside: median(times[aside]) / alone, busied: median(times[busied]) / alone}, nil
}

// block sends lines one after the other, and returns how long each was on its way.
func block(ctx context.Context, in io.Writer, out io.Reader, kind string, begin func(kind string) (*noise, error)) (all []float64, err error) {
	if kind != "echo" {
		n, err := begin(kind)
		if err != nil {
			return nil, err
		}
		defer func() {
			_, ended := n.written()
			err = errors.Join(err, ended, n.silent())
		}()
		if err := n.flows(ctx, noiseAhead); err != nil {
			return nil, err
		}
	}
	for range echoTimes {
		if err := pause(ctx, echoEvery); err != nil {
			return nil, err
		}
		ms, err := echo(in, out)
		if err != nil {
			return nil, err
		}
		all = append(all, ms)
	}
	return all, nil
}

// echo sends a line and waits until it is back.
func echo(in io.Writer, out io.Reader) (float64, error) {
	elapsed := stopwatch()
	if _, err := io.WriteString(in, aLine); err != nil {
		return 0, err
	}
	back := make([]byte, len(aLine))
	_, err := io.ReadFull(out, back)
	ms := elapsed()
	if err == nil && string(back) != aLine {
		err = fmt.Errorf("%q came back", back)
	}
	return ms, err
}

// flows returns once the container has written so many bytes, or has ended.
func (n *noise) flows(ctx context.Context, atLeast int) error {
	var ended error
	slow := until(ctx, patience, func() error {
		var written int
		if written, ended = n.written(); ended == nil && written < atLeast {
			return fmt.Errorf("only %d bytes are written", written)
		}
		return nil
	})
	return errors.Join(slow, ended)
}

// written is how many bytes the container has written so far; an error says that it has ended.
func (n *noise) written() (int, error) {
	return strconv.Atoi(fieldOf(fmt.Sprintf("/proc/%d/io", n.pid), "wchar"))
}

func echoDaemon(ctx context.Context, d *daemon, _ sizes) (figures, error) {
	return d.attached(ctx, echoArgs, func(s *stream) (figures, error) {
		return echoes(ctx, s, s, func(kind string) (*noise, error) { return d.noise(ctx, kind) })
	})
}

// noise starts a container whose output goes to a json-file log.
func (d *daemon) noise(ctx context.Context, kind string) (*noise, error) {
	id, err := d.create(ctx, container{args: noiseArgs[kind], logged: true})
	if err != nil {
		return nil, err
	}
	n := &noise{silent: func() error { return d.remove(ctx, id) }}
	if err = d.start(ctx, id); err == nil {
		n.pid, err = d.pid(ctx, id)
	}
	if err != nil {
		return nil, errors.Join(err, n.silent())
	}
	return n, nil
}

func echoBare(ctx context.Context, b *bare, _ sizes) (f figures, err error) {
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		stdin.Close()
		return nil, err
	}
	defer out.Close()
	_, remove, err := b.detached(ctx, stdin, stdout, echoArgs)
	stdin.Close()
	stdout.Close()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return echoes(ctx, in, out, func(kind string) (*noise, error) { return b.noise(ctx, kind) })
}

// noise starts a container whose output goes to a pipe that is read at once.
func (b *bare) noise(ctx context.Context, kind string) (*noise, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	pid, remove, err := b.detached(ctx, nil, write, noiseArgs[kind])
	write.Close()
	if err != nil {
		read.Close()
		return nil, err
	}
	done := make(chan error, 1)
	go func() { // ends with the container, which alone has the other end
		_, err := count(read)
		done <- err
	}()
	return &noise{pid: pid, silent: func() error { return errors.Join(remove(), <-done, read.Close()) }}, nil
}

// detached starts a container with these ends of pipes, and returns its process and how to remove it.
func (b *bare) detached(ctx context.Context, stdin io.Reader, stdout io.Writer, args []string) (pid int, remove func() error, err error) {
	c, err := b.container(args)
	if err != nil {
		return 0, nil, err
	}
	remove = func() error { return errors.Join(b.call(ctx, nil, nil, "delete", "--force", c.id), c.remove()) }
	file := filepath.Join(c.dir, "pid")
	err = b.call(ctx, stdin, stdout, "run", "--detach", "--pid-file", file, "--bundle", c.dir, c.id)
	var data []byte
	if err == nil {
		data, err = os.ReadFile(file)
	}
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
	}
	if err != nil {
		return 0, nil, errors.Join(err, remove())
	}
	return pid, remove, nil
}
