package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// stream is a connection that attach or exec took over. Docker's frames come in: eight bytes of header, the last four
// of
// them the payload's length; what goes out is stdin as it is.
type stream struct {
	payload
	conn *net.UnixConn
	stop func() bool
}

// payload is what is in frames, of whatever stream.
type payload struct {
	in   *bufio.Reader
	left int // bytes of the current frame
}

func newPayload(r io.Reader) payload { return payload{in: bufio.NewReaderSize(r, bufferSize)} }

func (s *payload) Read(p []byte) (int, error) {
	for s.left == 0 {
		var header [8]byte
		if _, err := io.ReadFull(s.in, header[:]); err != nil {
			return 0, err // io.EOF between frames
		}
		s.left = int(binary.BigEndian.Uint32(header[4:]))
	}
	n, err := s.in.Read(p[:min(len(p), s.left)])
	s.left -= n
	if errors.Is(err, io.EOF) && s.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// hijack sends a POST that takes the connection over. It is closed when ctx is done.
func (c *client) hijack(ctx context.Context, path, body string) (*stream, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: c.socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	s := &stream{payload: newPayload(conn), conn: conn, stop: context.AfterFunc(ctx, func() { conn.Close() })}
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	if err == nil {
		err = s.accepted(path)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stream) accepted(path string) error {
	answer, err := http.ReadResponse(s.in, &http.Request{Method: http.MethodPost})
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols && answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
		return fmt.Errorf("POST %s: %s %s", path, answer.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

func (s *stream) close() {
	s.stop()
	s.conn.Close()
}

func (s *stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// CloseWrite ends stdin.
func (s *stream) CloseWrite() error { return s.conn.CloseWrite() }
