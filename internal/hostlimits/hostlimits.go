// Package hostlimits knows which resource limits and OOM scores a host without
// CAP_SYS_RESOURCE keeps from its containers. runtimed uses it when it creates a
// container. The engine, which has the same capabilities as runtimed, uses it to
// warn the user.
package hostlimits

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Bounds say what the kernel allows this process.
type Bounds struct {
	// SysResource is true if this process may raise limits and lower the OOM score:
	// CAP_SYS_RESOURCE in capabilities(7).
	SysResource bool
	// OOMScoreAdj is the value of this process, -1000 to 1000. Without SysResource no
	// process that it starts can have a lower one.
	OOMScoreAdj int
	// HardLimit returns this process's hard limit of a resource of getrlimit(2).
	HardLimit func(resource int) (uint64, error)
}

// Here returns the bounds of this process. Its errors are those of the system.
func Here() (Bounds, error) {
	b := Bounds{HardLimit: hardLimit}
	var err error
	if b.SysResource, err = hasSysResource(); err != nil {
		return Bounds{}, err
	}
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return Bounds{}, err
	}
	b.OOMScoreAdj, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return b, err
}

// hasSysResource reports whether this process has CAP_SYS_RESOURCE in the first user
// namespace, where the kernel asks for it.
func hasSysResource() (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // the second has capabilities 32 and up
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, fmt.Errorf("cannot read the capabilities of this process: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return false, nil
	}
	uids, err := os.ReadFile("/proc/self/uid_map")
	return wholeRange(uids), err
}

// wholeRange reports whether a uid_map (user_namespaces(7)) is that of the first user
// namespace, which maps each id to itself.
func wholeRange(uids []byte) bool {
	fields := strings.Fields(string(uids))
	return len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295"
}

func hardLimit(resource int) (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(resource, &limit)
	return limit.Max, err
}

// limits has the resources of getrlimit(2) by their names in an OCI spec.
var limits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
	"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE,
	"RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// Clamp changes each limit and OOM score of p that needs CAP_SYS_RESOURCE, on a
// process that lacks it, to the nearest value that needs none; other engines do so
// too. The warnings say which values were changed, and why. They are nil if none was.
func (b Bounds) Clamp(p *specs.Process) (warnings []string) {
	if b.SysResource {
		return nil
	}
	if p.OOMScoreAdj != nil && *p.OOMScoreAdj < b.OOMScoreAdj {
		const text = "the OOM score adjustment is %d, not %d: this host withholds CAP_SYS_RESOURCE"
		warnings = append(warnings, fmt.Sprintf(text, b.OOMScoreAdj, *p.OOMScoreAdj))
		p.OOMScoreAdj = &b.OOMScoreAdj
	}
	for i := range p.Rlimits {
		limit := &p.Rlimits[i]
		resource, known := limits[limit.Type]
		if !known {
			continue // the OCI runtime refuses it
		}
		hard, err := b.HardLimit(resource)
		if err != nil || limit.Hard <= hard {
			continue
		}
		const text = "the hard limit %s is %d, not %d: this host withholds CAP_SYS_RESOURCE"
		warnings = append(warnings, fmt.Sprintf(text, limit.Type, hard, limit.Hard))
		limit.Hard, limit.Soft = hard, min(limit.Soft, hard)
	}
	return warnings
}
