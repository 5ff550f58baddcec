package runtimed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// host is what the kernel allows this process, and so the containers that it has made. It is found out once.
type host struct {
	// sysResource tells whether limits may be raised and the OOM score lowered (capabilities(7), CAP_SYS_RESOURCE).
	sysResource bool
	// oomScoreAdj is this process's, below which no container gets without that.
	oomScoreAdj int
	// seccomp tells whether the kernel has system call filters.
	seccomp bool
	// hardLimit reads this process's hard limit of a resource.
	hardLimit func(resource int) (uint64, error)
	// controllers lists the controllers of control groups.
	controllers func() ([]string, error)
	features    *seccompTable
}

func thisHost(tmp string) (host, error) {
	h := host{hardLimit: hardLimit, controllers: controllers, seccomp: hasSeccomp(), features: newSeccompTable(tmp)}
	var err error
	if h.sysResource, err = hasSysResource(); err != nil {
		return host{}, err
	}
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return host{}, err
	}
	h.oomScoreAdj, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return h, err
}

// hasSysResource tells whether this process has CAP_SYS_RESOURCE where the kernel asks for it: in the first user namespace.
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

// wholeRange tells whether a uid_map (user_namespaces(7)) is that of the first user namespace, in which each id is itself.
func wholeRange(uids []byte) bool {
	fields := strings.Fields(string(uids))
	return len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295"
}

// hasSeccomp asks for a filter at an address that there is none at: the kernel tells of that only if it has filters (seccomp(2), PR_SET_SECCOMP).
func hasSeccomp() bool {
	return errors.Is(unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0), unix.EFAULT)
}

func hardLimit(resource int) (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(resource, &limit)
	return limit.Max, err
}

// limits are the resources of getrlimit(2) by their names in a spec. RLIMIT_AS and the others of a spec are the same as there.
var limits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// clampProcess changes what a process asks for and can't have without CAP_SYS_RESOURCE to the nearest that it can, as every engine does that runs without it. The
// returned warnings say what was changed and why; nil if nothing was.
func (h host) clampProcess(p *specs.Process) (warnings []string) {
	if h.sysResource {
		return nil
	}
	if p.OOMScoreAdj != nil && *p.OOMScoreAdj < h.oomScoreAdj {
		warnings = append(warnings, fmt.Sprintf("the OOM score adjustment is %d, not %d: this host withholds CAP_SYS_RESOURCE", h.oomScoreAdj, *p.OOMScoreAdj))
		p.OOMScoreAdj = &h.oomScoreAdj
	}
	for i := range p.Rlimits {
		limit := &p.Rlimits[i]
		resource, known := limits[limit.Type]
		if !known {
			continue // the OCI runtime refuses it
		}
		hard, err := h.hardLimit(resource)
		if err != nil || limit.Hard <= hard {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("the hard limit %s is %d, not %d: this host withholds CAP_SYS_RESOURCE", limit.Type, hard, limit.Hard))
		limit.Hard, limit.Soft = hard, min(limit.Soft, hard)
	}
	return warnings
}

// requireSpec refuses a spec that asks for what this host doesn't have and what can't be had in part: a limit without its controller would be none, and a container
// without its filter unconfined. Errors are of class FailedPrecondition and name what is missing.
func (h host) requireSpec(ctx context.Context, spec *specs.Spec, r ociRuntime) error {
	if spec.Linux == nil {
		return nil
	}
	if err := h.requireControllers(spec.Linux.Resources); err != nil {
		return err
	}
	if spec.Linux.Seccomp == nil {
		return nil
	}
	if !h.seccomp {
		return fmt.Errorf("the spec has a seccomp profile and this kernel has no seccomp filters: %w", errdefs.ErrFailedPrecondition)
	}
	if h.features.lacks(ctx, r.Path) {
		return fmt.Errorf("the spec has a seccomp profile and %s was built without seccomp: %w", r.Path, errdefs.ErrFailedPrecondition)
	}
	return nil
}
