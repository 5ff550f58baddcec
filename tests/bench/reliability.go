package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	countingSize = 20 // containers
	endingEarly  = 5  // those of them that end while the daemon is dead
	awayFor      = 2 * time.Second
	// statesWithin bounds how long a daemon that answers again may take to show each container as it is.
	statesWithin = 10 * time.Second
)

// victim is a daemon that is killed.
type victim struct {
	name   string
	must   bool   // if it loses anything, the run fails
	short  bool   // also in the short form
	rare   bool   // only with --newest
	killed string // what is killed
	also   string // the program of the processes that are killed with the daemon; empty for none
	make   func(o *options, p *place) *daemon
}

var victims = []victim{
	{name: "engine-lite, runtimed", must: true, short: true, killed: "engine", make: ownDaemon("")},
	{name: "engine-lite, runtimed", must: true, short: true, killed: "engine and runtimed", also: "runtimed",
		make: ownDaemon("")},
	{name: "engine-lite, containerd 2.4", killed: "engine", make: ownDaemon(".cache/containerd-2.4/containerd")},
	{name: "engine-lite, containerd 1.6", killed: "engine and containerd", also: "containerd",
		make: ownDaemon("/usr/bin/containerd")},
	{name: "engine-lite, containerd 2.4", killed: "engine and containerd", also: "containerd",
		make: ownDaemon(".cache/containerd-2.4/containerd")},
	{name: "docker 20.10", killed: "dockerd", make: dockerOn(".cache/docker-debian/dockerd", "/usr/bin", true)},
	{name: "docker 20.10", short: true, killed: "dockerd and containerd", also: "containerd",
		make: dockerOn(".cache/docker-debian/dockerd", "/usr/bin", false)},
	{name: "docker newest", rare: true, killed: "dockerd",
		make: dockerOn(".cache/dockerd-newest/dockerd", ".cache/containerd-2.4", true)},
	{name: "docker newest", rare: true, killed: "dockerd and containerd", also: "containerd",
		make: dockerOn(".cache/dockerd-newest/dockerd", ".cache/containerd-2.4", false)},
}

func ownDaemon(containerd string) func(*options, *place) *daemon {
	return func(o *options, p *place) *daemon {
		return newEngineLite(o, p, "runc", o.inWork(containerd)).(*daemon)
	}
}

// dockerOn is a dockerd that leaves containers running when it ends. Without a containerd
// of its own it starts one, which the kernel ends with dockerd.
func dockerOn(program, containerd string, separate bool) func(*options, *place) *daemon {
	return func(o *options, p *place) *daemon {
		d := newDocker(p, o.inWork(program), o.inWork(containerd)).(*daemon)
		d.args = append(d.args, "--live-restore")
		if separate {
			d.below = filepath.Join(o.inWork(containerd), "containerd")
			d.args = append(d.args, "--containerd", d.belowSocket())
		}
		return d
	}
}

// inWork finds a path that is relative to the repository; an empty one stays empty.
func (o *options) inWork(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(o.work, path)
}

// measureReliability kills each victim once in each round.
func measureReliability(ctx context.Context, o *options) (*reliabilityReport, error) {
	s := &session{options: o, report: newReport(ctx, o), shared: &shared{}, failed: map[string]int{}}
	var err error
	if s.image, err = newRootfs(filepath.Join(s.dir, "rootfs")); err != nil {
		return nil, err
	}
	all := &reliabilityReport{report: s.report}
	for round := range o.rounds {
		for i, v := range victims {
			if v.rare && !o.newest || o.short && !v.short {
				continue
			}
			progress("round %d of %d: %s, %s killed", round+1, o.rounds, v.name, v.killed)
			f, failed := s.killOne(ctx, v, fmt.Sprintf("v%d", i))
			if failed != nil {
				all.NotRun = append(all.NotRun,
					notRun{Target: v.name, Row: v.killed, Why: failed.Error(), must: v.must})
			} else {
				all.add(v, f)
			}
			if v.must {
				err = errors.Join(err, failed, f.check(v))
			}
		}
	}
	all.report.finish(ctx)
	return all, errors.Join(err, context.Cause(ctx))
}

// runReliability runs measureReliability, and prints and writes the results.
func (o *options) runReliability(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not done after %s", o.limit))
	defer cancel()
	all, err := measureReliability(ctx, o)
	if all == nil {
		return err
	}
	errs := []error{err, all.print(out)}
	if o.json != "" {
		errs = append(errs, all.writeJSON(o.json))
	}
	if o.docs != "" {
		errs = append(errs, writeBetween(filepath.Join(o.docs, "reliability.md"), all.markdown()))
	}
	return errors.Join(errs...)
}

// killOne runs containers on a daemon, kills the daemon, ends some of the containers, and
// checks what the next daemon knows.
func (s *session) killOne(ctx context.Context, v victim, name string) (f outcome, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, oneLimit, fmt.Errorf("not done after %s", oneLimit))
	defer cancel()
	p, err := s.place(name)
	if err != nil {
		return f, err
	}
	d := v.make(s.options, p)
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx))) }()
	if err = d.startBelow(ctx); err != nil {
		return f, err
	}
	if err = d.open(ctx); err != nil {
		return f, err
	}
	all, err := startCounting(ctx, d)
	if err != nil {
		return f, err
	}
	defer all.close()
	since := time.Now()
	if err = d.kill(v.also); err != nil {
		return f, err
	}
	if err = all.endSome(ctx, all[:endingEarly]); err != nil {
		return f, err
	}
	if err = pause(ctx, awayFor); err != nil {
		return f, err
	}
	if err = f.timeRestart(ctx, d, all); err != nil {
		return f, err
	}
	return f, f.read(ctx, d, all, since)
}

func (d *daemon) belowSocket() string { return filepath.Join(d.run, "c.sock") }

// startBelow starts the containerd that the daemon is to use. It has the target's tag, so
// that the daemon's close ends it.
func (d *daemon) startBelow(ctx context.Context) error {
	if d.below == "" {
		return nil
	}
	config := filepath.Join(d.run, "containerd.toml")
	if err := os.WriteFile(config,
		[]byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(d.below, "--config", config, "--address", d.belowSocket(), "--root", d.disk+"-c", "--state",
		d.run+"/c", "--log-level", "warn")
	cmd.Env = append(os.Environ(), tag+"="+d.target, "PATH="+d.path+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // close waits until it is gone
	return until(ctx, waitLimit, func() error { _, err := os.Stat(d.belowSocket()); return err })
}

// kill kills the daemon, and all of its processes with a program of the given name, at once.
func (d *daemon) kill(also string) error {
	err := d.cmd.Process.Kill()
	if also != "" {
		for _, pid := range taggedProcesses(d.target) {
			if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); filepath.Base(exe) == also {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended with the daemon
			}
		}
	}
	<-d.ended
	d.http.CloseIdleConnections()
	return err
}

func pause(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(t):
		return nil
	}
}

// timeRestart starts the daemon again and measures how long it takes to show the right
// states.
func (f *outcome) timeRestart(ctx context.Context, d *daemon, all countingContainers) error {
	begin := time.Now()
	if err := d.launch(ctx); err != nil {
		return err
	}
	if err := until(ctx, waitLimit, func() error { _, err := d.states(ctx); return err }); err != nil {
		return err
	}
	f.Listed = milliseconds(time.Since(begin))
	wrong := func() error {
		states, err := d.states(ctx)
		if err != nil {
			return err
		}
		f.States = 0
		for i, c := range all {
			if (states[c.id] == "exited") == (i < endingEarly) {
				f.States++
			}
		}
		if f.States < len(all) {
			return fmt.Errorf("%d states are wrong", len(all)-f.States)
		}
		return nil
	}
	if err := until(ctx, statesWithin, wrong); err == nil {
		f.Right = milliseconds(time.Since(begin))
	} else if ctx.Err() != nil {
		return err
	}
	return nil
}

// states returns the states of all containers, by id.
func (d *daemon) states(ctx context.Context) (map[string]string, error) {
	var all []struct{ ID, State string }
	if err := d.get(ctx, "/containers/json?all=1", &all); err != nil {
		return nil, err
	}
	states := map[string]string{}
	for _, c := range all {
		states[c.ID] = c.State
	}
	return states, nil
}

// read checks what the daemon knows of the time while it did not run, ends the other
// containers, and compares their output.
func (f *outcome) read(ctx context.Context, d *daemon, all countingContainers, since time.Time) error {
	for _, c := range all[:endingEarly] {
		code, err := d.exitCode(ctx, c.id)
		if err != nil {
			return err
		}
		if code == c.code {
			f.Codes++
		}
	}
	deaths, err := d.deaths(ctx, since, time.Now())
	if err != nil {
		return err
	}
	for _, c := range all[:endingEarly] {
		if len(deaths[c.id]) == 1 {
			f.Deaths++
		}
		if slices.Equal(deaths[c.id], []string{fmt.Sprint(c.code)}) {
			f.DeathCodes++
		}
	}
	for _, c := range all[endingEarly:] {
		if c.runs() {
			f.Alive++
		}
	}
	if err := all.endSome(ctx, all[endingEarly:]); err != nil {
		return err
	}
	for i, c := range all {
		if i >= endingEarly {
			if code, err := d.exitCode(ctx, c.id); err == nil && code == c.code {
				f.Later++
			}
		}
		if err := f.compare(ctx, d, c); err != nil {
			return err
		}
	}
	return nil
}
