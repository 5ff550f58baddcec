package core

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/keeperlink"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
	"github.com/engine-lite/engine-lite/runtimed/internal/terminal"
)

// CloseStdin closes a process's stdin: it reads an end of file once all other writers are gone. A terminal's stdin is
// no longer read.
func (p *Process) CloseStdin() error {
	d := p.task.c.d
	if p.record.Stdin == "" {
		return nil
	}
	if err := statefile.Write(p.file(stdinClosedFile), nil); err != nil {
		return statefile.Classed(err)
	}
	if term := p.terminal(); term != nil {
		return term.CloseInput()
	}
	return d.keeper.Do(func(ctx context.Context, k *keeper.Client) error { return k.Release(ctx, p.key, keeper.Stdin) })
}

// Resize sets the size of the process's terminal, in characters.
func (p *Process) Resize(width, height uint32) error {
	term := p.terminal()
	if term == nil {
		return fmt.Errorf("%s has no terminal, or it is closed: %w", p, errdefs.ErrFailedPrecondition)
	}
	return term.Resize(width, height)
}

// stdinClosedFile marks a process whose stdin was closed.
const stdinClosedFile = "stdin-closed"

// holdStdin lets the keeper hold a write end of stdin, so that the container reads no end of file when an engine
// ends.
func (p *Process) holdStdin(ctx context.Context, path string) error {
	d := p.task.c.d
	hold, err := fifo.OpenHold(path)
	if err != nil {
		return err
	}
	defer hold.Close() // the keeper has a duplicate
	k, err := d.keeper.Get()
	if err != nil {
		return err
	}
	return k.Hold(ctx, p.key, keeper.Stdin, hold, nil, keeper.HoldOptions{})
}

// holdStart lets the keeper read the FIFO of a start, so that the start goes on if this runtimed is killed. With a
// keeper of an earlier release, which doesn't do that, such a start fails.
func (p *Process) holdStart(path *os.File) {
	err := p.task.c.d.keeper.Do(func(ctx context.Context, k *keeper.Client) error {
		return k.Hold(ctx, p.key, keeper.StartFIFO, path, nil, keeper.HoldOptions{})
	})
	p.startHeld = err == nil || errdefs.IsAlreadyExists(err)
	if !p.startHeld {
		p.task.c.d.log.WithError(err).WithField("process", p.String()).Debug("the keeper doesn't hold the FIFO of a start")
	}
}

// releaseStart ends holdStart.
func (p *Process) releaseStart() {
	if !p.startHeld {
		return
	}
	p.startHeld = false
	err := p.task.c.d.keeper.Do(func(ctx context.Context, k *keeper.Client) error {
		return k.Release(ctx, p.key, keeper.StartFIFO)
	})
	if err != nil {
		p.task.c.d.log.WithError(err).WithField("process", p.String()).Warn(
			"cannot release the FIFO of a start at the keeper")
	}
}

// finishStart finishes a start in which an earlier runtimed was killed.
func (t *containerTask) finishStart(ctx context.Context) {
	if !t.record.StartsDirectly || statefile.Exists(t.init.file("running")) || t.c.d.rebooted {
		return
	}
	var held *os.File
	err := t.c.d.keeper.Do(func(ctx context.Context, k *keeper.Client) (err error) {
		held, _, err = k.Take(ctx, t.init.key, keeper.StartFIFO) // it has no raw file
		return err
	})
	if err == nil {
		t.init.startHeld = true
		defer held.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, giveUpGrace)
	defer cancel()
	alive := func() bool { return proc.Alive(t.init.pid, t.init.start) }
	begun, err := t.record.Runtime.FinishStart(ctx, t.c.id, alive, held)
	if err == nil && begun {
		err = statefile.Write(t.init.file("running"), nil)
	}
	if err != nil { // the keeper reads on: the init process may still write
		t.c.d.log.WithError(err).WithField("container", t.c.id).Error(
			"cannot finish the start of a container in which an earlier runtimed was killed")
		return
	}
	t.init.releaseStart()
}

// attachTerminal receives a terminal's master, lets the keeper hold it too, and starts to move its bytes.
func (p *Process) attachTerminal(ctx context.Context, socket *terminal.ConsoleSocket) error {
	d := p.task.c.d
	master, err := socket.Receive(ctx)
	if err != nil {
		return err
	}
	k, err := d.keeper.Get()
	if err == nil {
		err = k.Hold(ctx, p.key, keeper.Terminal, master, nil, keeper.HoldOptions{Taken: true})
	}
	if err != nil {
		return errors.Join(err, master.Close())
	}
	return p.runTerminal(master, false)
}

// runTerminal starts to move a terminal's bytes. The master is the terminal's then, or closed after an error.
func (p *Process) runTerminal(master *os.File, stdinClosed bool) error {
	d := p.task.c.d
	stdin := p.record.Stdin
	if stdinClosed {
		stdin = ""
	}
	term, err := terminal.New(master, stdin, p.record.Stdout, func(stream string, err error) {
		d.log.WithError(err).WithField("process", p.String()).Errorf(
			"the %s of a terminal ended with an error; no more of its bytes are moved", stream)
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.term = term
	return nil
}

// holdAgain lets the keeper hold a stdin that an earlier keeper held. Without that, the end of the next engine would
// be an end of file for the container. The same keeper still holds it.
func (p *Process) holdAgain() {
	d := p.task.c.d
	if statefile.Exists(p.file(stdinClosedFile)) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), keeperlink.Timeout)
	defer cancel()
	err := p.holdStdin(ctx, p.record.Stdin)
	switch {
	case err == nil, errdefs.IsAlreadyExists(err):
	case errdefs.IsFailedPrecondition(err), errdefs.IsNotFound(err): // nobody reads it any more
	default:
		d.log.WithError(err).WithField("process", p.String()).Warn(
			"cannot give the stdin of a process to the keeper; the process reads an end of file when the engine ends")
	}
}

// takeTerminal gets a terminal's master back from the keeper.
func (p *Process) takeTerminal() error {
	d := p.task.c.d
	var master *os.File
	err := d.keeper.Do(func(ctx context.Context, k *keeper.Client) (err error) {
		master, _, err = k.Take(ctx, p.key, keeper.Terminal) // a terminal has no raw file
		return err
	})
	if err != nil {
		return err
	}
	return p.runTerminal(master, statefile.Exists(p.file(stdinClosedFile)))
}

// releaseStreams makes the keeper close one stream of a process, or all with an empty name.
func (p *Process) releaseStreams(name string) {
	d := p.task.c.d
	if p.record.Stdin == "" && !p.record.Terminal && !p.startHeld {
		return
	}
	err := d.keeper.Do(func(ctx context.Context, k *keeper.Client) error { return k.Release(ctx, p.key, name) })
	if err != nil {
		d.log.WithError(err).WithField("process", p.String()).Warn(
			"cannot release the streams of a process at the keeper")
	}
}
