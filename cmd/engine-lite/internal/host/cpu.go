package host

import (
	"os"
	"strconv"
	"strings"
)

// userHZ is the unit of the times in /proc/stat: 1/100 s on every Linux that
// Go runs on (proc(5)).
const userHZ = 100

// CPUTime is the time that all CPUs of the host have spent so far, in
// nanoseconds; 0 where /proc/stat can't be read.
func CPUTime() uint64 {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	return cpuLine(line)
}

// cpuLine sums the first seven times of the line "cpu", as Docker does: the
// rest is part of them.
func cpuLine(line string) uint64 {
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0
	}
	var ticks uint64
	for _, f := range fields[1:8] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return ticks * (1e9 / userHZ)
}
