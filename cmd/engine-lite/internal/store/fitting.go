package store

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// An event has less than 1 MiB (journal.Tx.Append), and must never be refused: what it tells of has happened, and an
// exit may wait behind it. So what users choose without a bound is cut in events.
const (
	maxLabels = 640 << 10 // bytes of all keys and values
	longLabel = 1 << 10   // bytes that are left of a value that is cut
)

// FittingLabels returns a copy of labels for an event, never nil. The longest values are cut where all together have
// more than 640 KiB. Where that is not enough, labels are left out.
func FittingLabels(labels map[string]string) map[string]string {
	a := make(map[string]string, len(labels))
	maps.Copy(a, labels)
	sizeOf := func(key string) int { return len(key) + len(a[key]) + 2*binary.MaxVarintLen32 } // with both lengths
	size := 0
	for key := range a {
		size += sizeOf(key)
	}
	if size <= maxLabels {
		return a
	}
	longestFirst := slices.SortedFunc(maps.Keys(a), func(x, y string) int {
		return cmp.Or(len(a[y])-len(a[x]), strings.Compare(x, y))
	})
	for _, key := range longestFirst {
		if size <= maxLabels || len(a[key]) <= longLabel {
			break
		}
		size -= sizeOf(key)
		a[key] = Cut(a[key], longLabel)
		size += sizeOf(key)
	}
	for _, key := range longestFirst { // so many are no use to anybody
		if size <= maxLabels {
			break
		}
		size -= sizeOf(key)
		delete(a, key)
	}
	return a
}

// Cut leaves the beginning of a text that is longer than limit bytes, with three dots behind it.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const dots = "..."
	return strings.ToValidUTF8(text[:limit-len(dots)], "") + dots
}
