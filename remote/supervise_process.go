package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// daemonProcess is a containerd that runs: a child, or what an earlier supervisor
// left. Both are watched by a pidfd.
type daemonProcess struct {
	pid   int
	pidfd *os.File
	child *exec.Cmd // nil for one that somebody else reaps

	ended chan struct{} // closed when it has ended
	how   string        // how it ended, once it has

	watch sync.WaitGroup
}

// start runs containerd in a session of its own, so that no terminal's signal
// reaches it.
func (s *Supervisor) start() (*daemonProcess, error) {
	args := s.options.arguments()
	out, err := s.log.writer()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(s.options.Binary, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(s.options.Binary)+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p, err := watchDaemon(cmd.Process.Pid, cmd)
	if err != nil {
		_ = cmd.Process.Kill() // it has ended, or does now
		return nil, errors.Join(err, cmd.Wait())
	}
	return p, nil
}

// watchDaemon watches a process, by a goroutine that ends with it or with leave.
func watchDaemon(pid int, child *exec.Cmd) (*daemonProcess, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch process %d: %w", pid, err)
	}
	p := &daemonProcess{pid: pid, pidfd: os.NewFile(uintptr(fd), "pidfd"), child: child, ended: make(chan struct{})}
	p.watch.Go(func() {
		if err := p.awaitEnd(); err != nil {
			return // leave
		}
		p.how = "a status that its parent knows"
		if child != nil {
			_ = child.Wait() // its error is in ProcessState
			p.how = child.ProcessState.String()
		}
		close(p.ended)
	})
	return p, nil
}

// awaitEnd waits until the pidfd is readable (pidfd_open(2)), or closed.
func (p *daemonProcess) awaitEnd() error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	})
}

// leave ends the watching. A child that lives then has to be reaped by whoever
// inherits it.
func (p *daemonProcess) leave() {
	_ = p.pidfd.Close() // ends the goroutine; nothing was written
	p.watch.Wait()
}

// end ends the process, which may have ended.
func (p *daemonProcess) end(grace time.Duration) {
	p.signal(unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.signal(unix.SIGKILL)
		<-p.ended
	}
	p.leave()
}

// signal fails only for a process that has ended.
func (p *daemonProcess) signal(sig unix.Signal) {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
}

// adoptDaemon finds the containerd with these arguments, which name a file of the
// supervisor's own directory, and watches it; nil where there is none.
func adoptDaemon(args []string) (*daemonProcess, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || !isDaemon(pid, args) {
			continue
		}
		p, err := watchDaemon(pid, nil)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if isDaemon(pid, args) { // the pidfd is that of the process that was looked at
			return p, nil
		}
		p.leave()
	}
	return nil, nil
}

// isDaemon tells whether a process has these arguments and is the leader of its
// session: a child of containerd's has its command line too, until it executes.
func isDaemon(pid int, args []string) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(line), "\x00")
	if rest != strings.Join(args, "\x00")+"\x00" {
		return false
	}
	session, err := unix.Getsid(pid)
	return err == nil && session == pid
}

// serves waits until a daemon says that it serves. It fails when ctx or the daemon
// ends.
func serves(ctx context.Context, address string, ended <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watch sync.WaitGroup
	defer watch.Wait()
	done := make(chan struct{})
	defer close(done)
	watch.Go(func() { // ends with this function
		select {
		case <-ended:
			cancel(errors.New("it has ended"))
		case <-done:
		}
	})
	conn, err := grpc.NewClient("unix://"+address, dialOptions(Options{MaxMessage: defaultMaxMessage})...)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil && context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	return err
}
