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

// daemonProcess is the process of a containerd: a child, or the one of an earlier
// supervisor. It is watched by a pidfd, see pidfd_open(2).
type daemonProcess struct {
	pid   int
	pidfd *os.File
	child *exec.Cmd // nil if another process reaps it

	ended chan struct{} // closed when the process has ended
	how   string        // how the process ended; set before ended is closed

	watch sync.WaitGroup
}

// start runs containerd in a session of its own, so that signals of a terminal don't
// reach it.
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
		_ = cmd.Process.Kill() // fails if the process has ended
		return nil, errors.Join(err, cmd.Wait())
	}
	return p, nil
}

// watchDaemon starts a goroutine that waits for the end of a process. The goroutine ends
// with the process, or with leave.
func watchDaemon(pid int, child *exec.Cmd) (*daemonProcess, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch process %d: %w", pid, err)
	}
	p := &daemonProcess{pid: pid, pidfd: os.NewFile(uintptr(fd), "pidfd"), child: child, ended: make(chan struct{})}
	p.watch.Go(p.run)
	return p, nil
}

func (p *daemonProcess) run() {
	left := p.awaitEnd() != nil
	switch {
	case left && p.child != nil:
		_ = p.child.Process.Release() // has no error on Linux
	case p.child != nil:
		_ = p.child.Wait() // its error is in ProcessState
		p.how = p.child.ProcessState.String()
	default:
		p.how = "an unknown status (it is not a child of this process)"
	}
	if !left {
		close(p.ended)
	}
}

// awaitEnd waits until the pidfd is readable, which says that the process has ended (see
// pidfd_open(2)). It fails when the pidfd is closed.
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

// leave ends the goroutine of watchDaemon. A child that still runs is reaped by the
// process that inherits it.
func (p *daemonProcess) leave() {
	_ = p.pidfd.Close() // ends the goroutine; an error loses nothing
	p.watch.Wait()
}

// end ends the process with SIGTERM, and after the grace with SIGKILL. The process may
// have ended already.
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

// signal sends a signal. It does nothing if the process has ended.
func (p *daemonProcess) signal(sig unix.Signal) {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
}

// adoptDaemon finds the containerd with these arguments, which name a file in the
// supervisor's Dir, and watches it. It returns nil if there is none.
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
		if isDaemon(pid, args) { // again: the pid may be another process's by now
			return p, nil
		}
		p.leave()
	}
	return nil, nil
}

// isDaemon reports whether a process has these arguments and leads its session. A child
// of containerd has the same arguments until its execve(2), and doesn't lead a session.
func isDaemon(pid int, args []string) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(line), "\x00")
	if after != strings.Join(args, "\x00")+"\x00" {
		return false
	}
	session, err := unix.Getsid(pid)
	return err == nil && session == pid
}

// serves waits until a daemon answers gRPC's health check. It fails when ctx or the
// daemon ends.
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
			cancel(errors.New("the process has ended"))
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
