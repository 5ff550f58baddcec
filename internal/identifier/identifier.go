// Package identifier has the rule for the ids of containers and execs.
package identifier

import (
	"fmt"
	"regexp"

	"github.com/containerd/errdefs"
)

// longest and wellFormed are the rule for identifiers of containerd's package identifiers. Every implementation of
// containerd's API refuses other ids.
const longest = 76

var wellFormed = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$`)

// Check returns InvalidArgument for an id that the rule refuses.
func Check(id string) error {
	if len(id) > longest {
		return fmt.Errorf("id %.20q... is longer than %d characters: %w", id, longest, errdefs.ErrInvalidArgument)
	}
	if !wellFormed.MatchString(id) {
		return fmt.Errorf("id %q is not letters and digits joined by single '.', '_' or '-': %w",
			id, errdefs.ErrInvalidArgument)
	}
	return nil
}
