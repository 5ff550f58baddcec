// Package procfs reads what /proc tells of processes and of the machine, as far as several packages need it.
package procfs

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
)

// BootID is the random UUID of one boot of the machine (random(4), /proc/sys/kernel/random/boot_id).
type BootID [16]byte

// String returns the id as 32 hexadecimal digits.
func (b BootID) String() string { return hex.EncodeToString(b[:]) }

// Boot returns the id of the present boot. Errors: DataLoss if the kernel's text is no UUID.
func Boot() (BootID, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return BootID{}, fmt.Errorf("cannot tell this boot from others: %w", err)
	}
	return parseBoot(string(text))
}

func parseBoot(text string) (BootID, error) {
	digits := strings.ReplaceAll(strings.TrimSpace(text), "-", "")
	decoded, err := hex.DecodeString(digits)
	if err != nil || len(decoded) != len(BootID{}) {
		return BootID{}, fmt.Errorf("boot id %.40q is no UUID: %w", text, errdefs.ErrDataLoss)
	}
	return BootID(decoded), nil
}
