package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// figures are the results of one measurement, by the names of rows.
type figures map[string]float64

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// stopwatch returns a function that returns
func stopwatch() func() float64 {
	begin := time.Now()
	return func() float64 { return milliseconds(time.Since(begin)) }
}

var trueArgs = []string{"true"}

// runDaemon creates, starts, awaits and removes a container that does nothing.
func runDaemon(ctx context.Context, d *daemon, _ sizes) (figures, error) {
	elapsed := stopwatch()
	id, err := d.create(ctx, container{args: trueArgs, logged: true})
	if err != nil {
		return nil, err
	}
	err = d.start(ctx, id)
	code := 0
	if err == nil {
		code, err = d.wait(ctx, id)
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("the container ended with %d", code)
	}
	if removed := d.remove(ctx, id); err == nil {
		err = removed
	}
	return figures{"run": elapsed()}, err
}

// runBare does the same with one command, and with three.
func runBare(ctx context.Context, b *bare, _ sizes) (figures, error) {
	f := figures{}
	for name, commands := range map[string][][]string{
		"run":  {{"run", "--bundle", "DIR", "ID"}},
		"life": {{"create", "--bundle", "DIR", "ID"}, {"start", "ID"}, {"delete", "--force", "ID"}},
	} {
		c, err := b.container(trueArgs)
		if err != nil {
			return f, err
		}
		elapsed := stopwatch()
		err = b.calls(ctx, c, commands)
		f[name] = elapsed()
		if err = errors.Join(err, c.remove()); err != nil {
			return f, err
		}
	}
	return f, nil
}

// calls runs commands on a container. DIR is replaced by its bundle, ID by its id.
func (b *bare) calls(ctx context.Context, c *bareContainer, commands [][]string) error {
	words := strings.NewReplacer("DIR", c.dir, "ID", c.id)
	for _, args := range commands {
		var real []string
		for _, arg := range args {
			real = append(real, words.Replace(arg))
		}
		if err := b.call(ctx, nil, nil, real...); err != nil {
			return err
		}
	}
	return nil
}

// startDaemon starts a container that was created before.
func startDaemon(ctx context.Context, d *daemon, _ sizes) (figures, error) {
	id, err := d.create(ctx, container{args: sleepArgs, logged: true})
	if err != nil {
		return nil, err
	}
	elapsed := stopwatch()
	err = d.start(ctx, id)
	f := figures{"start": elapsed()}
	return f, errors.Join(err, d.remove(ctx, id))
}

// startBare creates and starts, since an engine calls the runtime's create in its own
// start. It also does both in one command.
func startBare(ctx context.Context, b *bare, _ sizes) (figures, error) {
	f := figures{}
	for name, commands := range map[string][][]string{
		"start":    {{"create", "--bundle", "DIR", "ID"}, {"start", "ID"}},
		"detached": {{"run", "--detach", "--bundle", "DIR", "ID"}},
	} {
		c, err := b.container(sleepArgs)
		if err != nil {
			return f, err
		}
		elapsed := stopwatch()
		err = b.calls(ctx, c, commands)
		f[name] = elapsed()
		if err = errors.Join(err, b.call(ctx, nil, nil, "delete", "--force", c.id), c.remove()); err != nil {
			return f, err
		}
	}
	return f, nil
}

// execDaemon runs a process in a container that runs, reads its output to the end and asks for its exit code.
func execDaemon(ctx context.Context, d *daemon, _ sizes) (figures, error) {
	held, err := d.resident(ctx)
	if err != nil {
		return nil, err
	}
	elapsed := stopwatch()
	err = d.client.exec(ctx, held)
	return figures{"exec": elapsed()}, err
}

// startExec starts a process in a container, and returns its id and its output, which the caller closes.
func (c *client) startExec(ctx context.Context, id string, args []string) (string, *stream, error) {
	var made struct{ ID string }
	err := c.post(ctx, "/containers/"+id+"/exec",
		map[string]any{"AttachStdout": true, "AttachStderr": true, "Cmd": args}, &made)
	if err != nil {
		return "", nil, err
	}
	s, err := c.hijack(ctx, "/exec/"+made.ID+"/start", `{"Detach":false,"Tty":false}`)
	return made.ID, s, err
}

// exec runs a process that prints nothing and ends with 0.
func (c *client) exec(ctx context.Context, id string) error {
	made, s, err := c.startExec(ctx, id, trueArgs)
	if err != nil {
		return err
	}
	words, err := io.ReadAll(s)
	s.close()
	if len(words) > 0 {
		err = errors.Join(err, fmt.Errorf("the exec wrote %q", words))
	}
	if err != nil {
		return err
	}
	var end struct {
		Running  bool
		ExitCode *int
	}
	err = c.get(ctx, "/exec/"+made+"/json", &end)
	if err == nil && (end.Running || end.ExitCode == nil || *end.ExitCode != 0) {
		err = fmt.Errorf("the exec has not ended with 0: %+v", end)
	}
	return err
}

// resident is a container that runs as long as the daemon does.
func (d *daemon) resident(ctx context.Context) (string, error) {
	if d.held != "" {
		return d.held, nil
	}
	var err error
	d.held, err = d.running(ctx)
	return d.held, err
}

func execBare(ctx context.Context, b *bare, _ sizes) (figures, error) {
	elapsed := stopwatch()
	err := b.call(ctx, nil, nil, "exec", b.held.id, "true")
	return figures{"exec": elapsed()}, err
}

// endDaemon kills a container's process, and measures when a subscriber and a waiter know
// the exit.
func endDaemon(ctx context.Context, d *daemon, _ sizes) (figures, error) {
	id, err := d.running(ctx)
	if err != nil {
		return nil, err
	}
	f, err := d.watchEnd(ctx, id)
	return f, errors.Join(err, d.remove(ctx, id))
}

func (d *daemon) watchEnd(ctx context.Context, id string) (figures, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pid, err := d.pid(ctx, id)
	if err != nil {
		return nil, err
	}
	p, err := watchProcess(pid)
	if err != nil {
		return nil, err
	}
	defer p.close()
	events, err := d.ask(ctx, "GET", `/events?filters={"container":["`+id+`"],"event":["die"]}`, nil)
	if err != nil {
		return nil, err
	}
	defer events.Body.Close()
	waiting, err := d.ask(ctx, "POST", "/containers/"+id+"/wait", nil)
	if err != nil {
		return nil, err
	}
	defer waiting.Body.Close()
	died, waited := decoded(json.NewDecoder(events.Body)), decoded(json.NewDecoder(waiting.Body))
	killed := time.Now()
	if err := p.kill(); err != nil {
		cancel() // ends both decoders
	}
	die, wait, end := <-died, <-waited, <-p.ended
	if err := errors.Join(die.err, wait.err, end.err); err != nil {
		return nil, err
	}
	return figures{
		"exit": milliseconds(end.at.Sub(killed)),
		"die":  max(0, milliseconds(die.at.Sub(end.at))), "wait": max(0, milliseconds(wait.at.Sub(end.at))),
	}, nil
}

// moment is the time at which something was seen.
type moment struct {
	at  time.Time
	err error
}

// decoded returns when a value has come. It ends when the body ends.
func decoded(d *json.Decoder) <-chan moment {
	seen := make(chan moment, 1)
	go func() {
		var v json.RawMessage
		err := d.Decode(&v)
		seen <- moment{time.Now(), err}
	}()
	return seen
}
