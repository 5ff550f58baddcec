// Command holder holds something of the kernel's that a checkpoint takes along only
// if it is told to: a lock on a file, a datagram socket that is connected to one
// outside, or both ends of a TCP connection. For each line of its stdin it uses what
// it holds, and says so.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	hold := map[string]func(string) (func() error, error){"lock": lock, "socket": socket, "tcp": tcp}[os.Args[1]]
	use, err := hold(os.Args[2])
	for lines := bufio.NewScanner(os.Stdin); err == nil && lines.Scan(); {
		if err = use(); err == nil {
			fmt.Println("held", lines.Text())
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// lock holds flock(2) on a file, which nobody else gets then.
func lock(path string) (func() error, error) {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	other := func() error {
		fd, err := unix.Open(path, unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("somebody else gets the lock: %v", err)
		}
		return nil
	}
	return other, unix.Flock(fd, unix.LOCK_EX)
}

// socket is connected to a datagram socket that isn't the container's.
func socket(path string) (func() error, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	send := func() error {
		_, err := unix.Write(fd, []byte("datagram"))
		return err
	}
	return send, unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// tcp is a connection over loopback.
func tcp(string) (func() error, error) {
	var fds [2]int
	for i := range fds {
		var err error
		if fds[i], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
			return nil, err
		}
	}
	address := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 4000}
	if err := errors.Join(unix.Bind(fds[0], address), unix.Listen(fds[0], 1), unix.Connect(fds[1], address)); err != nil {
		return nil, err
	}
	end, _, err := unix.Accept(fds[0])
	err = errors.Join(err, unix.Close(fds[0]))
	echo := func() error {
		var b [1]byte
		if _, err := unix.Write(fds[1], []byte("x")); err != nil {
			return err
		}
		_, err := unix.Read(end, b[:])
		return err
	}
	return echo, err
}
