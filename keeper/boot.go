package keeper

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
)

// bootID tells one boot of the host from all others: a random UUID (random(4), /proc/sys/kernel/random/boot_id).
type bootID [16]byte

func readBootID() (bootID, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return bootID{}, fmt.Errorf("cannot tell this boot from others: %w", err)
	}
	return parseBootID(string(text))
}

func parseBootID(text string) (bootID, error) {
	digits := strings.ReplaceAll(strings.TrimSpace(text), "-", "")
	decoded, err := hex.DecodeString(digits)
	if err != nil || len(decoded) != len(bootID{}) {
		return bootID{}, fmt.Errorf("boot id %.40q is no UUID: %w", text, errdefs.ErrDataLoss)
	}
	return bootID(decoded), nil
}

// Boot returns the id of the host's boot. Pids and start times that were written down under another one name nobody: the same pair comes
// again. Errors: DataLoss if the kernel's text is no UUID.
func Boot() (string, error) {
	id, err := readBootID()
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(id[:]), nil
}
