package main

import (
	"fmt"
	"regexp"

	"github.com/containerd/errdefs"
)

// validID is what both runtimes take: their directory of a container has its name.
var validID = regexp.MustCompile(`^[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,254}$`)

func checkID(id string) error {
	if !validID.MatchString(id) || id == "." || id == ".." {
		return fmt.Errorf("invalid container id %.80q: it is letters, digits, '_', '+', '.' and '-', 255 at most: %w", id, errdefs.ErrInvalidArgument)
	}
	return nil
}
