// Package peer starts engine-lite or the newest dockerd in namespaces of their own, for programs
// that compare the two.
package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/engine-lite/engine-lite/internal/retry"
)

// The engines.
const (
	EngineLite = "engine-lite"
	Dockerd    = "dockerd" // the newest: hack/dockerd
)

// waitLimit bounds the start and the end of a daemon.
const waitLimit = time.Minute

// A Daemon is an engine with Docker's REST API that runs in this process's namespaces.
type Daemon struct {
	Socket string       // of the API
	Client *http.Client // which asks it

	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd was reaped
	log   string        // the daemon's output
}

// newDaemon describes an engine with all its files below dir, an empty directory. Its programs are those of the work tree.
// Nothing runs yet.
func newDaemon(work, dir, engine string) (*Daemon, error) {
	d := &Daemon{
		Socket: filepath.Join(dir, "docker.sock"), log: filepath.Join(dir, "daemon.log"), ended: make(chan struct{}),
	}
	d.Client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.Socket)
	}}}
	root, run, path := filepath.Join(dir, "root"), filepath.Join(dir, "run"), ""
	if err := errors.Join(os.Mkdir(root, 0o711), os.Mkdir(run, 0o711)); err != nil {
		return nil, err
	}
	switch engine {
	case EngineLite:
		d.cmd = exec.Command(filepath.Join(work, "bin/engine-lite"), "--root", root, "--run", run, "--socket", d.Socket,
			"--runtime", "runc")
	case Dockerd:
		path = filepath.Join(work, ".cache/containerd-2.4") + ":"
		config := filepath.Join(dir, "daemon.json")
		// Debian's runc does not know time namespaces.
		if err := os.WriteFile(config, []byte(`{"features": {"time-namespaces": false}}`), 0o600); err != nil {
			return nil, err
		}
		d.cmd = exec.Command(filepath.Join(work, ".cache/dockerd-newest/dockerd"), "--data-root", root, "--exec-root", run,
			"--init-path", "/usr/bin/tini-static",
			"--pidfile", filepath.Join(run, "pid"), "--host", "unix://"+d.Socket, "--config-file", config,
			"--userland-proxy=false", "--iptables=false", "--ip6tables=false")
	default:
		return nil, fmt.Errorf("there is no engine %q; there are %s and %s", engine, EngineLite, Dockerd)
	}
	d.cmd.Env = append(os.Environ(), "PATH="+path+os.Getenv("PATH"))
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return d, nil
}

// start starts the daemon, and returns when it answers. Its caller stops it, also after an error.
func (d *Daemon) start(ctx context.Context) error {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	go func() { // ends with the daemon
		_ = d.cmd.Wait() // the log says why
		close(d.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	for {
		_, err := d.Do(ctx, http.MethodGet, "/_ping", nil)
		if err == nil {
			return nil
		}
		select {
		case <-d.ended:
			return fmt.Errorf("the daemon ended: %s", d.lastWords())
		default:
		}
		if ended := retry.Sleep(ctx, 50*time.Millisecond); ended != nil {
			return errors.Join(err, ended)
		}
	}
}

// lastWords are the last lines of the daemon's log.
func (d *Daemon) lastWords() string {
	data, _ := os.ReadFile(d.log)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// stop removes all containers and ends the daemon. A keeper ends with the namespace of its process.
func (d *Daemon) stop(ctx context.Context) error {
	if d.cmd.Process == nil {
		return nil
	}
	err := d.RemoveAll(ctx)
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-d.ended:
	case <-time.After(waitLimit):
		err = errors.Join(err, errors.New("the daemon does not end"), d.cmd.Process.Kill())
		<-d.ended
	}
	return errors.Join(err, groupsGone(ctx))
}

// RemoveAll removes all containers.
func (d *Daemon) RemoveAll(ctx context.Context) error {
	text, err := d.Do(ctx, http.MethodGet, "/containers/json?all=1", nil)
	if err != nil {
		return err
	}
	var all []struct{ ID string }
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		_, err := d.Do(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// groupsGone waits until engine-lite's control group is removed: that is a moment after the last container.
func groupsGone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	for {
		version1, _ := filepath.Glob("/sys/fs/cgroup/*/engine-lite") // the patterns are valid
		version2, _ := filepath.Glob("/sys/fs/cgroup/engine-lite")
		left := append(version1, version2...)
		if len(left) == 0 {
			return nil
		}
		if err := retry.Sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("control groups are left: %v", left)
		}
	}
}

// Do sends a request and returns the answer's body. A status of 400 or more is an error, and so is an error in a stream of
// progress.
func (d *Daemon) Do(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := d.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= http.StatusBadRequest || bytes.Contains(text, []byte(`"errorDetail"`)) {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, bytes.TrimSpace(text))
	}
	return text, nil
}

// Import makes an image of this machine's busybox, under all of these names.
func (d *Daemon) Import(ctx context.Context, names ...string) error {
	archive, err := busybox()
	if err != nil {
		return err
	}
	for i, name := range names {
		repo, tag, _ := strings.Cut(name, ":")
		path, query, body := "/images/"+names[0]+"/tag?", url.Values{"repo": {repo}, "tag": {tag}}, io.Reader(nil)
		if i == 0 {
			path, body = "/images/create?", bytes.NewReader(archive)
			query.Set("fromSrc", "-")
			query.Set("changes", `CMD ["sh"]`)
		}
		if _, err := d.Do(ctx, http.MethodPost, path+query.Encode(), body); err != nil {
			return err
		}
	}
	return nil
}
