// Package withheld knows what a host without CAP_SYS_RESOURCE keeps its processes
// from having, and so their containers. runtimed goes by it when it makes one, and
// the engine, whose child's child runtimed is, when it tells a user what to expect.
package withheld

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Bounds are what the kernel allows this process.
type Bounds struct {
	// SysResource tells whether limits may be raised and the OOM score lowered
	// (capabilities(7), CAP_SYS_RESOURCE).
	SysResource bool
	// OOMScoreAdj is this process's, below which nothing that it starts gets
	// without that.
	OOMScoreAdj int
	// HardLimit reads this process's hard limit of a resource of getrlimit(2).
	HardLimit func(resource int) (uint64, error)
}

// Here finds out this process's bounds.
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

// hasSysResource tells whether this process has CAP_SYS_RESOURCE where the kernel
// asks for it: in the first user namespace.
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

// wholeRange tells whether a uid_map (user_namespaces(7)) is that of the first user
// namespace, in which each id is itself.
func wholeRange(uids []byte) bool {
	fields := strings.Fields(string(uids))
	return len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295"
}

func hardLimit(resource int) (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(resource, &limit)
	return limit.Max, err
}

// limits are the resources of getrlimit(2) by their names in a spec.
var limits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// Clamp changes what a process asks for and can't have without CAP_SYS_RESOURCE to
// the nearest that it can, as every engine does that runs without it. The warnings
// say what was changed and why; nil if nothing was.
func (b Bounds) Clamp(p *specs.Process) (warnings []string) {
	if b.SysResource {
		return nil
	}
	if p.OOMScoreAdj != nil && *p.OOMScoreAdj < b.OOMScoreAdj {
		warnings = append(warnings, fmt.Sprintf("the OOM score adjustment is %d, not %d: this host withholds CAP_SYS_RESOURCE", b.OOMScoreAdj, *p.OOMScoreAdj))
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
		warnings = append(warnings, fmt.Sprintf("the hard limit %s is %d, not %d: this host withholds CAP_SYS_RESOURCE", limit.Type, hard, limit.Hard))
		limit.Hard, limit.Soft = hard, min(limit.Soft, hard)
	}
	return warnings
}
