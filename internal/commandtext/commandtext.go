// Package commandtext tells what is wrong with a command from what an OCI runtime says when a start fails.
//
// OCI runtimes say that in their text only, and containerd passes the text on as an error without a class. This is the
// one place that reads such texts. An engine can't find the reason itself: the command is looked up in the container's
// own mounts, with the rights of the container's user, and both are gone when the create has failed.
package commandtext

import (
	"slices"
	"strings"
)

// Fault is what is wrong.
type Fault int

// The faults.
const (
	// Other: nothing is said of the command.
	Other Fault = iota
	// Missing: the command doesn't exist.
	Missing
	// Denied: the command exists, and can't be executed.
	Denied
)

// missingWords and deniedWords count only behind one of prefixes, since the runtimes use the same words for mounts,
// hooks and namespaces. All are in lower case. TestStartErrorTexts has the runtimes produce them.
var (
	prefixes = []string{
		`exec: "`, ": exec /", // runc
		"executable file `", "open executable: ", // crun
		"error finding executable ", "failed to load /", // gVisor's runsc
	}
	missingWords = []string{"not found in $path", "no such file or directory", "not a directory"}
	deniedWords  = []string{"permission denied", "is a directory", "exec format error",
		"operation not permitted"} // crun, of a directory
)

// Tell returns the fault that a text tells.
func Tell(text string) Fault {
	text = strings.ToLower(text)
	for _, prefix := range prefixes {
		_, after, ok := strings.Cut(text, prefix)
		switch {
		case !ok:
		case hasAny(after, missingWords):
			return Missing
		case hasAny(after, deniedWords):
			return Denied
		}
	}
	return Other
}

func hasAny(text string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
