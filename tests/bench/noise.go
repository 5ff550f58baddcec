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

// A line goes into a container and back: through attach to an engine's cat, through pipes
// to a bare runtime's. The time is measured in blocks, in turn: alone; beside a container
// that writes as fast as its stdout is read; and beside one that runs the same program
// with its stdout on /dev/null. The last one does not depend on the engine: it shows what
// a busy processor costs.
const (
	echoBlocks = 3 // of each kind
	echoTimes  = 150
	echoEvery  = time.Millisecond // the pause before each line: the sender must not use the processor, too
	// noiseAhead is how many bytes the writer has written when a block begins.
	noiseAhead = 32 << 20
)

const (
	besideLogged = "echo-aside" // beside a container whose output is logged
	besideNull   = "echo-busied"
	aLine        = "a line of sixty-four bytes, such as somebody would type to cat.\n"
	nullYes      = `exec yes "$0" >/dev/null`
)

var (
	echoArgs  = []string{"cat"}
	noiseText = strings.Repeat("as fast as it can ", 5)
	noiseArgs = map[string][]string{besideLogged: {"yes", noiseText}, besideNull: {"sh", "-c", nullYes, noiseText}}
)

// noise is a container that writes all the time.
type noise struct {
	pid  int
	stop func() error // ends it
}

// echoes measures the time of lines, with noise and without.
func echoes(ctx context.Context, in io.Writer, out io.Reader, begin func(kind string) (*noise, error)) (figures,
	error) {
	times := map[string][]float64{}
	for range echoBlocks {
		for _, kind := range []string{"echo", besideLogged, besideNull} {
			all, err := block(ctx, in, out, kind, begin)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			times[kind] = append(times[kind], all...)
		}
	}
	alone := median(times["echo"])
	return figures{"echo": alone, besideLogged: median(times[besideLogged]) / alone,
		besideNull: median(times[besideNull]) / alone}, nil
}

// block sends lines one after the other, and returns the time of each.
func block(ctx context.Context, in io.Writer, out io.Reader, kind string,
	begin func(kind string) (*noise, error)) (all []float64, err error) {
	if kind != "echo" {
		n, err := begin(kind)
		if err != nil {
			return nil, err
		}
		defer func() {
			_, ended := n.written()
			err = errors.Join(err, ended, n.stop())
		}()
		if err := n.awaitWritten(ctx, noiseAhead); err != nil {
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

// echo sends a line and waits until it comes back.
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

// awaitWritten waits until the container has written so many bytes, or has ended.
func (n *noise) awaitWritten(ctx context.Context, atLeast int) error {
	var ended error
	slow := until(ctx, waitLimit, func() error {
		var written int
		if written, ended = n.written(); ended == nil && written < atLeast {
			return fmt.Errorf("only %d bytes are written", written)
		}
		return nil
	})
	return errors.Join(slow, ended)
}

// written is how many bytes the container has written so far. An error means that it has
// ended.
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
	n := &noise{stop: func() error { return d.remove(ctx, id) }}
	if err = d.start(ctx, id); err == nil {
		n.pid, err = d.pid(ctx, id)
	}
	if err != nil {
		return nil, errors.Join(err, n.stop())
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
	go func() { // ends with the container, which has the only other end
		_, err := count(read)
		done <- err
	}()
	return &noise{pid: pid, stop: func() error { return errors.Join(remove(), <-done, read.Close()) }}, nil
}

// detached starts a container with the given ends of pipes. It returns its pid and a
// function that removes it.
func (b *bare) detached(ctx context.Context, stdin io.Reader, stdout io.Writer, args []string) (pid int,
	remove func() error, err error) {
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
