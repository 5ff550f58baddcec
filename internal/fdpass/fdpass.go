// Package fdpass sends and receives file descriptors beside a message over a unix socket (SCM_RIGHTS, unix(7)).
//
// Descriptors are plain numbers here, and whoever has them closes them.
package fdpass

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// ErrTruncated says that a message, or the descriptors beside it, did not fit and were cut off. Its class is
// InvalidArgument. The connection can be read on.
var ErrTruncated = fmt.Errorf("the message, or its number of descriptors, is too large: %w", errdefs.ErrInvalidArgument)

// descriptorSize is what one descriptor takes in a control message, in bytes.
const descriptorSize = 4

// Write writes one message with duplicates of descriptors beside it. The caller's own stay open. Over a socket of type
// SOCK_SEQPACKET or SOCK_DGRAM a message is one packet.
func Write(conn *net.UnixConn, data []byte, descriptors []int) error {
	var control []byte
	if len(descriptors) > 0 {
		control = unix.UnixRights(descriptors...)
	}
	_, _, err := conn.WriteMsgUnix(data, control, nil)
	return err
}

// Read reads one message into data and at most limit descriptors. It returns the number of bytes and the descriptors,
// which are close-on-exec (the net package asks for MSG_CMSG_CLOEXEC) and the caller's. With an error there are none.
//
// Errors: ErrTruncated, io.EOF at the end of the connection, and those of the connection.
func Read(conn *net.UnixConn, data []byte, limit int) (n int, descriptors []int, err error) {
	control := make([]byte, unix.CmsgSpace(limit*descriptorSize))
	n, controlled, flags, _, err := conn.ReadMsgUnix(data, control)
	// Descriptors may also come with an empty packet, which the net package takes for the end.
	descriptors = parse(control[:controlled])
	// The control buffer is aligned to 8 bytes: it may have room for one descriptor more than the limit.
	if err == nil && (flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(descriptors) > limit) {
		err = ErrTruncated
	}
	if err != nil {
		Close(descriptors)
		return 0, nil, err
	}
	return n, descriptors, nil
}

// parse returns the descriptors in a control message. The kernel wrote the message, so one that cannot be read has
// none.
func parse(control []byte) []int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	var all []int
	for _, m := range messages {
		if descriptors, err := unix.ParseUnixRights(&m); err == nil {
			all = append(all, descriptors...)
		}
	}
	return all
}

// Close closes descriptors. There is nothing to learn from an error: nobody wrote to them.
func Close(descriptors []int) {
	for _, fd := range descriptors {
		unix.Close(fd)
	}
}

// With calls fn with the descriptors of files, which nobody can close meanwhile. (os.File.Fd would make the open file
// blocking, for everybody who has it: O_NONBLOCK belongs to the open file description.)
//
// Errors: that of a nil file (os.ErrInvalid) or of a closed one, and fn is not called then; else the error of fn.
func With(files []*os.File, fn func(descriptors []int) error) error {
	return with(files, make([]int, 0, len(files)), fn)
}

func with(files []*os.File, descriptors []int, fn func([]int) error) error {
	if len(files) == 0 {
		return fn(descriptors)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = with(files[1:], append(descriptors, int(fd)), fn) })
	return errors.Join(err, inner)
}
