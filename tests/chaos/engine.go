package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// process is a process that this program started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it was reaped
}

// spawn starts a process whose output goes to a file of the world.
func (w *world) spawn(log string, args ...string) (*process, error) {
	file, err := os.OpenFile(w.file(log), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := &process{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		_ = p.cmd.Wait() // its status is in ProcessState
		close(p.ended)
	}()
	return p, nil
}

// hasEnded is true if the process has ended.
func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// end stops the process with SIGTERM, and returns an error if the process does not end
// well.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !p.hasEnded() {
		return err
	}
	if !waitUntil(context.Background(), p.hasEnded) {
		return fmt.Errorf("%s does not end after SIGTERM", p.cmd.Path)
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %s", p.cmd.Path, p.cmd.ProcessState)
	}
	return nil
}

// spawnEngine starts the engine without waiting until it answers.
func (w *world) spawnEngine() error {
	var err error
	w.engine, err = w.spawn("engine.log", filepath.Join(w.bin, "engine-lite"), "--root", w.file("root"), "--run",
		w.runDir())
	return err
}

// startEngine starts the engine and waits until it answers.
func (w *world) startEngine(ctx context.Context) error {
	if err := w.spawnEngine(); err != nil {
		return err
	}
	return w.awaitEngine(ctx)
}

// awaitEngine waits until the engine answers.
func (w *world) awaitEngine(ctx context.Context) error {
	ok := waitUntil(ctx, func() bool {
		return w.engine.hasEnded() || w.call(ctx, http.MethodGet, "/_ping", "").done()
	})
	if !ok || w.engine.hasEnded() {
		return fmt.Errorf("the engine does not answer; its log ends with:\n%s", w.tail("engine.log"))
	}
	return nil
}

// stopEngines stops the engine and the keeper with SIGTERM.
func (w *world) stopEngines() error {
	var errs []error
	if w.engine != nil {
		errs = append(errs, w.engine.end())
	}
	if pid := w.keeperPid(); pid > 0 {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			errs = append(errs, fmt.Errorf("keeper: %w", err))
		}
		if !waitUntil(context.Background(), func() bool { return !alive(pid) }) {
			errs = append(errs, fmt.Errorf("the keeper, process %d, does not end", pid))
		}
	}
	return errors.Join(errs...)
}

// tail is the end of a log.
func (w *world) tail(log string) string {
	data, err := os.ReadFile(w.file(log))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}

func (w *world) keeperPid() int {
	data, err := os.ReadFile(filepath.Join(w.runDir(), "keeper", "keeper.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

// runtimedPid is the pid of the runtime daemon; 0 while there is none. Any of the keeper's
// threads may be its parent.
func (w *world) runtimedPid() int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", w.keeperPid()))
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for child := range strings.FieldsSeq(string(children)) {
			name, err := os.ReadFile("/proc/" + child + "/comm")
			if pid, e := strconv.Atoi(child); err == nil && e == nil && string(name) == "runtimed\n" {
				return pid
			}
		}
	}
	return 0
}

// alive is true if there is a process with that pid that has not ended.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}
