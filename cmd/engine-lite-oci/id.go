package main

import (
	"fmt"
	"regexp"

	"github.com/containerd/errdefs"
)

// validID matches the ids that crun and runc both take: each names a directory.
var validID = regexp.MustCompile(`^[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,254}$`)

func checkID(id string) error {
	if !validID.MatchString(id) || id == "." || id == ".." {
		const text = "invalid container id %.80q: it is letters, digits, '_', '+', '.' and '-', 255 at most: %w"
		return fmt.Errorf(text, id, errdefs.ErrInvalidArgument)
	}
	return nil
}
