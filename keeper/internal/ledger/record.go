package ledger

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/engine-lite/engine-lite/internal/procfs"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// A ledger file is a sequence of records of 40 bytes, little endian:
//
//	seq 8 | start time 8 | wall time in ns 8 | pid 4 | raw wait status 4 | kind 4 | CRC-32C of the 36 bytes before 4
//
// The first one is the head: it has the 16 bytes of the boot id in place of seq and start time, and the number of
// the format in place of the pid.
const recordSize = 40

// ledgerFormat is the number of the format that this program writes, and the newest that it reads.
const ledgerFormat = 1

// The kinds of records.
const (
	kindExit   = 1 // an exit
	kindForget = 2 // the exit of this seq is forgotten
	kindLast   = 3 // numbers up to this seq are used; no other field counts
	kindHead   = 4 // the boot and the format; no other field counts
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is an exit in memory.
type entry struct {
	seq, start  uint64
	nanos       int64
	pid, status uint32
}

// exit returns the entry as clients get it.
func (e entry) exit() wire.Exit {
	return wire.Exit{Seq: e.seq, Pid: int(e.pid), StartTime: e.start, Status: e.status, Time: time.Unix(0, e.nanos).UTC()}
}

// encodeRecord appends a record to data.
func encodeRecord(data []byte, kind uint32, e entry) []byte {
	begin := len(data)
	data = binary.LittleEndian.AppendUint64(data, e.seq)
	data = binary.LittleEndian.AppendUint64(data, e.start)
	data = binary.LittleEndian.AppendUint64(data, uint64(e.nanos))
	data = binary.LittleEndian.AppendUint32(data, e.pid)
	data = binary.LittleEndian.AppendUint32(data, e.status)
	data = binary.LittleEndian.AppendUint32(data, kind)
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data[begin:], castagnoli))
}

// encodeHead appends the head to data.
func encodeHead(data []byte, boot procfs.BootID) []byte {
	return encodeRecord(data, kindHead, entry{
		seq: binary.LittleEndian.Uint64(boot[:8]), start: binary.LittleEndian.Uint64(boot[8:]), pid: ledgerFormat,
	})
}

// decodeHead reads the boot and the format from the start of a ledger file. It is not ok if there is no head, or a
// broken one.
func decodeHead(data []byte) (boot procfs.BootID, format uint32, ok bool) {
	if len(data) < recordSize {
		return boot, 0, false
	}
	kind, e, ok := decodeRecord(data)
	copy(boot[:], data)
	return boot, e.pid, ok && kind == kindHead
}

// decodeRecord reads the record at the start of data, which has at least recordSize bytes.
func decodeRecord(data []byte) (kind uint32, e entry, ok bool) {
	e.seq = binary.LittleEndian.Uint64(data)
	e.start = binary.LittleEndian.Uint64(data[8:])
	e.nanos = int64(binary.LittleEndian.Uint64(data[16:]))
	e.pid = binary.LittleEndian.Uint32(data[24:])
	e.status = binary.LittleEndian.Uint32(data[28:])
	kind = binary.LittleEndian.Uint32(data[32:])
	sum := binary.LittleEndian.Uint32(data[36:])
	return kind, e, sum == crc32.Checksum(data[:36], castagnoli)
}

// decodeLedger reads a ledger file. It returns the exits that are not forgotten, in their order and at most the newest
// keepExits; the last seq that was used; and how many records were broken and skipped, a torn one at the end included.
func decodeLedger(data []byte) (kept []entry, last uint64, broken int) {
	if len(data)%recordSize != 0 {
		broken++
	}
	forgotten := make(map[uint64]bool)
	var newestExit uint64
	for ; len(data) >= recordSize; data = data[recordSize:] {
		kind, e, ok := decodeRecord(data)
		switch {
		case ok && kind == kindExit && e.seq > newestExit:
			kept, newestExit, last = append(kept, e), e.seq, max(last, e.seq)
		case ok && kind == kindForget:
			forgotten[e.seq] = true
		case ok && kind == kindLast:
			last = max(last, e.seq)
		case ok && kind == kindHead:
		default:
			broken++
		}
	}
	return newest(kept, forgotten), last, broken
}

// newest returns the entries that are not forgotten, at most keepExits of them. It reuses the slice.
func newest(entries []entry, forgotten map[uint64]bool) []entry {
	kept := entries[:0]
	for _, e := range entries {
		if !forgotten[e.seq] {
			kept = append(kept, e)
		}
	}
	return kept[max(0, len(kept)-keepExits):]
}
