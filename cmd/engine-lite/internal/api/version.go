package api

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// MaxVersion and MinVersion are the newest and the oldest version of Docker's
// REST API that are served. Newer clients negotiate down to MaxVersion.
const (
	MaxVersion = "1.56"
	MinVersion = "1.24"
)

// version is a version of the REST API.
type version struct {
	major, minor int
}

var (
	newest = version{1, 56}
	oldest = version{1, 24}
)

// versionSegment matches a first path segment that is a version.
var versionSegment = regexp.MustCompile(`^v[0-9][0-9.]*$`)

func (v version) String() string {
	return fmt.Sprintf("%d.%d", v.major, v.minor)
}

func (v version) compare(o version) int {
	return cmp.Or(cmp.Compare(v.major, o.major), cmp.Compare(v.minor, o.minor))
}

// before reports whether v is older than version 1.minor.
func (v version) before(minor int) bool {
	return v.compare(version{1, minor}) < 0
}

// parseVersion reads "1.41". The error is InvalidArgument for a text that is no version,
// and for a version that isn't served.
func parseVersion(s string) (version, error) {
	major, minor, _ := strings.Cut(s, ".")
	var v version
	var err error
	if v.major, err = strconv.Atoi(major); err != nil {
		return version{}, fmt.Errorf("%q is not an API version: %w", s, errdefs.ErrInvalidArgument)
	}
	if minor != "" {
		if v.minor, err = strconv.Atoi(minor); err != nil {
			return version{}, fmt.Errorf("%q is not an API version: %w", s, errdefs.ErrInvalidArgument)
		}
	}
	return v, v.served()
}

// served returns InvalidArgument for a version that isn't served. Clients show the
// text to their users, and some read the numbers in it.
func (v version) served() error {
	if v.compare(oldest) < 0 {
		return invalid("client version %s is too old. Minimum supported API version is %s, "+
			"please upgrade your client to a newer version", v, oldest)
	}
	if v.compare(newest) > 0 {
		return invalid("client version %s is too new. Maximum supported API version is %s", v, newest)
	}
	return nil
}
