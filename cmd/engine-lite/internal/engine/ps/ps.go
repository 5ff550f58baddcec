// Package ps runs the ps program of the host and picks the processes of a container.
package ps

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// psTimeout bounds the host's ps.
const psTimeout = 10 * time.Second

func Run(ctx context.Context, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, psTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "ps", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", classed.Errorf(errdefs.ErrUnavailable, "this host has no ps program (Debian's package procps)")
	case err != nil:
		return "", classed.Errorf(errdefs.ErrInvalidArgument, "ps: %s", firstLine(stderr.String(), err))
	}
	return stdout.String(), nil
}

// Pick keeps the rows of ps's table whose PID is one of pids. The last
// column may hold blanks.
func Pick(table string, pids []int) (container.TopResponse, error) {
	lines := strings.Split(strings.TrimSpace(table), "\n")
	top := container.TopResponse{Titles: strings.Fields(lines[0]), Processes: [][]string{}}
	column := slices.Index(top.Titles, "PID")
	if column < 0 {
		return top, classed.Errorf(errdefs.ErrInvalidArgument, "Couldn't find PID field in ps output")
	}
	for _, line := range lines[1:] {
		fields := splitColumns(line, len(top.Titles))
		if len(fields) <= column {
			continue
		}
		if pid, err := strconv.Atoi(fields[column]); err == nil && slices.Contains(pids, pid) {
			top.Processes = append(top.Processes, fields)
		}
	}
	return top, nil
}

func splitColumns(line string, n int) []string {
	var fields []string
	for rest := strings.TrimSpace(line); rest != ""; {
		if len(fields) == n-1 {
			return append(fields, rest)
		}
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			return append(fields, rest)
		}
		fields = append(fields, rest[:end])
		rest = strings.TrimLeft(rest[end:], " \t")
	}
	return fields
}

// firstLine is the first line of what ps complained about: the usage follows. It is the error where ps said nothing.
func firstLine(text string, err error) string {
	if line, _, _ := strings.Cut(strings.TrimSpace(text), "\n"); line != "" {
		return line
	}
	return err.Error()
}
