package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is the machine of the measurements.
type machine struct {
	Processors int     `json:"processors"`
	Processor  string  `json:"processor"`
	Memory     float64 `json:"memory"` // GB, of 10^9 bytes
	Kernel     string  `json:"kernel"`
	System     string  `json:"system"`
	Cgroups    string  `json:"cgroups"`
	// BusyBefore and BusyAfter are the parts of the processors' time that others used before
	// and after the run.
	BusyBefore float64 `json:"busyBefore"`
	BusyAfter  float64 `json:"busyAfter"`
}

func thisMachine(ctx context.Context) machine {
	m := machine{
		Processors: runtime.NumCPU(), Processor: fieldOf("/proc/cpuinfo", "model name"),
		System:  strings.Trim(fieldOf("/etc/os-release", "PRETTY_NAME"), `"`),
		Cgroups: "version 1", BusyBefore: othersLoad(ctx),
	}
	if kib, err := strconv.ParseFloat(strings.TrimSuffix(fieldOf("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.Memory = kib * 1024 / 1e9
	}
	var names unix.Utsname
	if unix.Uname(&names) == nil {
		m.Kernel = unix.ByteSliceToString(names.Release[:])
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		m.Cgroups = "version 2"
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%d × %s, %.0f GB, %s, Linux %s, control groups of %s", m.Processors, m.Processor, m.Memory,
		m.System, m.Kernel, m.Cgroups)
}

// fieldOf finds the first line of a file with a name, and returns the text after its ":"
// or "="; empty for none.
func fieldOf(path, name string) string {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimLeft(strings.TrimSpace(rest), ":= \t")
		}
	}
	return ""
}

func commitOf(ctx context.Context, dir string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// othersLoad measures how much of the processors' time is used while the bench is idle.
func othersLoad(ctx context.Context) float64 {
	busy, all := processorTime()
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
	busyThen, allThen := processorTime()
	if allThen == all {
		return 0
	}
	return (busyThen - busy) / (allThen - all)
}

// processorTime sums the first line of proc_stat(5), in ticks. The fourth and the fifth number are idle time.
func processorTime() (busy, all float64) {
	for i, text := range strings.Fields(fieldOf("/proc/stat", "cpu ")) {
		v, _ := strconv.ParseFloat(text, 64)
		if i > 7 {
			break // the first two include the time of guests
		}
		all += v
		if i != 3 && i != 4 {
			busy += v
		}
	}
	return busy, all
}
