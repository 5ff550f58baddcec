package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var raceCases = []contractCase{
	{name: "race/two hundred closes of stdin", run: func(e *env) { e.latchRaces(1, 200, 6) }},
}

// latch is one process, and the moment of its start at which stdin is closed.
type latch struct {
	container *libcontainerd.Container
	process   string
	moment    moment
	delay     time.Duration
	closers   sync.WaitGroup
}

// moment says when stdin is closed, and by which method.
type moment int

const (
	closeInAttach         moment = iota // by Streams.Stdin, in AttachStreams
	closeInAttachByID                   // by Container.CloseStdin, in AttachStreams
	closeDuring                         // by Streams.Stdin, some time after AttachStreams
	closeDuringByID                     // by Container.CloseStdin, some time after AttachStreams
	closeTwiceAtOnce                    // by both at the same time
	closeAfterStart                     // after the start has returned
	closeAfterStartAndTwo               // after the start has returned, three times
	moments
)

// latchRaces starts n processes, some as containers, most as execs, and closes the stdin of each at a moment of its
// own. Each process must exit by itself.
func (e *env) latchRaces(seed uint64, n, parallel int) {
	var latches sync.Map // by container/process
	e.recorder.OnAttach = func(id, process string, s libcontainerd.Streams) error {
		if l, ok := latches.Load(id + "/" + process); ok {
			return l.(*latch).attached(s)
		}
		return nil
	}
	hosts := make([]*libcontainerd.Container, 4)
	for i := range hosts {
		hosts[i] = e.started("sleep 1000")
	}
	window := min(2*e.longestStart(hosts[0]), widestWindow)
	slots := make(chan struct{}, parallel)
	var races sync.WaitGroup
	for i := range n {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		l := &latch{container: hosts[i%len(hosts)], process: fmt.Sprintf("e%d", i),
			moment: moment(rng.IntN(int(moments))),
			delay:  1 + time.Duration(rng.Int64N(int64(window)))}
		if i%5 == 0 {
			l.container, l.process = e.create("cat; exit 8"), initProcess
		}
		latches.Store(l.container.ID()+"/"+l.process, l)
		slots <- struct{}{}
		races.Go(func() {
			defer func() { <-slots }()
			if err := l.run(e); err != nil {
				e.Errorf("seed %d, race %d, moment %d, after %v: %v", seed, i, l.moment, l.delay, err)
			}
		})
	}
	races.Wait()
}

// widestWindow bounds the time of two hundred races on a machine with slow starts.
const widestWindow = time.Second

// longestStart is about the time that a start takes, for moments during the start.
func (e *env) longestStart(host *libcontainerd.Container) time.Duration {
	begun := time.Now()
	e.exec(host, "first", "exit 0", libcontainerd.StdioConfig{})
	e.exits(host, "first", 0)
	return max(time.Since(begun), time.Millisecond)
}

// attached is called before create is sent.
func (l *latch) attached(s libcontainerd.Streams) error {
	byID := func() error { return l.container.CloseStdin(l.process) }
	later := func(fn func() error) {
		l.closers.Go(func() {
			<-time.After(l.delay)
			_ = fn() // the case checks only that the process exits
		})
	}
	switch l.moment {
	case closeInAttach:
		return s.Stdin().Close()
	case closeInAttachByID:
		return byID()
	case closeDuring:
		later(s.Stdin().Close)
	case closeDuringByID:
		later(byID)
	case closeTwiceAtOnce:
		later(s.Stdin().Close)
		later(byID)
	case closeAfterStart, closeAfterStartAndTwo, moments:
	}
	return nil
}

// latchLimit is how long a process may run after its stdin was closed.
const latchLimit = 2 * time.Minute

// run starts the process, and waits for its exit.
func (l *latch) run(e *env) error {
	cfg := libcontainerd.StdioConfig{Stdin: true}
	var err error
	if l.process == initProcess {
		_, err = l.container.Start(e.ctx, libcontainerd.StartOptions{Stdio: cfg})
	} else {
		_, err = l.container.Exec(e.ctx, l.process, e.Process("cat; exit 8"), cfg)
	}
	if err != nil {
		return err
	}
	closes := map[moment]int{closeAfterStart: 1, closeAfterStartAndTwo: 3}[l.moment]
	for range closes {
		l.closers.Go(func() { _ = l.container.CloseStdin(l.process) })
	}
	l.closers.Wait()
	ctx, cancel := context.WithTimeoutCause(e.ctx, latchLimit, errors.New("it runs on although its stdin was closed"))
	defer cancel()
	exit, err := l.container.Wait(ctx, l.process)
	if err != nil || exit.Unknown != "" || exit.Code != 8 {
		return fmt.Errorf("exit %+v: %w", exit, err)
	}
	if l.process != initProcess {
		return nil
	}
	return l.container.Delete(context.WithoutCancel(e.ctx), libcontainerd.DeleteOptions{})
}
