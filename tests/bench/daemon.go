package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience bounds the start and the end of a daemon.
const waitLimit = time.Minute

// tag is an environment variable that marks all processes of a target. They inherit it;
// containers do not.
const tag = "ENGINE_LITE_BENCH_TARGET"

// daemon is an engine with Docker's REST API: engine-lite, or a dockerd.
type daemon struct {
	*place
	*client
	oci     string   // the OCI runtime
	program string   // the engine's
	args    []string // its arguments
	path    string   // directories to look into before those of PATH, each with a colon behind
	more    []string // patterns of files that have to be there too
	below   string   // the containerd to start before it; empty for none

	held string // a container that runs; empty before the first that asks for it

	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd was reaped
}

func newDaemon(p *place, oci string) *daemon {
	return &daemon{place: p, client: newClient(p.socket()), oci: oci}
}

// newEngineLite is engine-lite with runtimed, or on a containerd that it starts itself.
func newEngineLite(o *options, p *place, oci, containerd string) target {
	d := newDaemon(p, oci)
	d.program = filepath.Join(o.work, "bin/engine-lite")
	d.args = []string{"--root", p.disk, "--run", p.run, "--socket", p.socket(), "--log-level", "warn"}
	if containerd == "" {
		d.args = append(d.args, "--runtime", oci)
	} else {
		d.args = append(d.args, "--containerd-binary", containerd)
		d.path, d.more = filepath.Dir(containerd)+":", []string{containerd}
	}
	return d
}

// newDocker is a dockerd with a containerd of its own, without networks.
func newDocker(p *place, program, containerd string) target {
	d := newDaemon(p, "runc")
	d.program, d.path = program, containerd+":"
	d.args = []string{
		"--data-root", p.disk, "--exec-root", p.run, "--pidfile", filepath.Join(p.run, "pid"), "--host",
		"unix://" + p.socket(),
		"--config-file", filepath.Join(p.run, "daemon.json"), "--cgroup-parent", p.cgroup(), "--log-level", "warn",
		"--userland-proxy=false", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
		"--bridge=none",
	}
	d.more = []string{filepath.Join(containerd, "containerd")}
	return d
}

// dockerConfig is a dockerd's configuration. Debian's runc, which all targets use, does
// not support time namespaces.
const dockerConfig = `{"features": {"time-namespaces": false}}`

func (d *daemon) runtime() string { return d.oci }

func (d *daemon) version(ctx context.Context) (string, error) {
	var v struct{ Version string }
	err := d.get(ctx, "/version", &v)
	return v.Version, err
}

// open starts the daemon and gives it the image.
func (d *daemon) open(ctx context.Context) error {
	for _, path := range append([]string{d.program}, d.more...) {
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(d.run, "daemon.json"), []byte(dockerConfig), 0o600); err != nil {
		return err
	}
	if err := d.launch(ctx); err != nil {
		return err
	}
	data, err := d.image.tar()
	if err != nil {
		return err
	}
	return d.importImage(ctx, bytes.NewReader(data))
}

// launch starts the daemon's program and returns when it answers.
func (d *daemon) launch(ctx context.Context) error {
	log, err := os.OpenFile(d.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(d.program, d.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), tag+"="+d.target, "PATH="+d.path+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	d.cmd, d.ended = cmd, ended
	go func() { // ends with the daemon
		_ = cmd.Wait() // the log says why
		close(ended)
	}()
	err = until(ctx, waitLimit, func() error {
		select {
		case <-ended:
			return nil
		default:
			return d.get(ctx, "/_ping", nil)
		}
	})
	select {
	case <-ended:
		err = errors.New("the daemon ended")
	default:
	}
	if err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, d.lastWords())
	}
	return nil
}

func (d *daemon) log() string { return filepath.Join(d.run, "daemon.log") }

func (d *daemon) lastWords() string {
	data, _ := os.ReadFile(d.log())
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// end ends the daemon's program with SIGTERM, and returns when it is gone.
func (d *daemon) end(ctx context.Context) error {
	if d.cmd == nil {
		return nil
	}
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case <-d.ended:
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	case <-time.After(waitLimit):
		return errors.Join(err, fmt.Errorf("%s does not end", d.target))
	}
	d.http.CloseIdleConnections()
	return err
}

// again stops the daemon and starts the next one. Containers run on if the engine supports
// that.
func (d *daemon) again(ctx context.Context) error {
	if err := d.end(ctx); err != nil {
		return err
	}
	return d.launch(ctx)
}

// close removes all containers and ends the daemon and whatever it started.
func (d *daemon) close(ctx context.Context) error {
	if d.cmd == nil {
		return nil
	}
	removed := d.removeAll(ctx)
	ended := d.end(ctx)
	for _, pid := range taggedProcesses(d.target) { // a keeper outlives its engine
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended by itself
	}
	gone := until(ctx, waitLimit, func() error {
		if left := taggedProcesses(d.target); len(left) > 0 {
			return fmt.Errorf("processes of %s are left: %v", d.target, left)
		}
		return nil
	})
	removeCgroups(d.cgroup())
	return errors.Join(removed, ended, gone)
}

func (d *daemon) removeAll(ctx context.Context) error {
	var all []struct{ ID string }
	if err := d.get(ctx, "/containers/json?all=1", &all); err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, d.remove(ctx, c.ID))
	}
	return errors.Join(errs...)
}

// list asks for the running containers, as docker ps does, and returns how many there are.
func (d *daemon) list(ctx context.Context) (int, error) {
	var all []struct{ ID string }
	err := d.do(ctx, http.MethodGet, "/containers/json", nil, &all)
	return len(all), err
}
