package ledger

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/internal/procfs"

	"github.com/containerd/errdefs"
)

func openTestLedger(t *testing.T, path string) *Ledger {
	t.Helper()
	l, err := Open(path, procfs.BootID{1}, log.New(t.Output(), "", 0))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLedger(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLedgerReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := openTestLedger(t, path)
	for i := range 10 {
		l.Append(100+i, uint64(i), uint32(i)<<8, time.Unix(int64(i), 5))
	}
	for i := range 5 {
		l.Forget(105+i, uint64(5+i))
	}
	want, _, err := l.After(0)
	if err != nil || len(want) != 5 {
		t.Fatalf("%v, %v", want, err)
	}
	for range 3 { // each one writes the file anew
		closeLedger(t, l)
		l = openTestLedger(t, path)
		if got, _, err := l.After(0); err != nil || !slices.Equal(got, want) {
			t.Errorf("reopened: %v, not %v: %v", got, want, err)
		}
	}
	defer func() { closeLedger(t, l) }()
	l.Append(1, 1, 0, time.Now())
	if got, _ := l.Lookup(1, 1); got.Seq != 11 {
		t.Errorf("the next exit is %d", got.Seq)
	}
}

// Whatever the end of the file looks like after a kill, the records before it count, and the ledger goes on.
func TestLedgerTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := openTestLedger(t, path)
	for i := range 3 {
		l.Append(100+i, 1, 0, time.Now())
	}
	closeLedger(t, l)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range recordSize {
		torn := append(slices.Clone(whole[:len(whole)-cut]), make([]byte, cut%2)...)
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		l := openTestLedger(t, path)
		want := 2
		if cut == 0 {
			want = 3
		}
		if got, _, err := l.After(0); err != nil || len(got) != want {
			t.Errorf("%d bytes cut off: %v, %v", cut, got, err)
		}
		closeLedger(t, l)
	}
	whole[2*recordSize+3] ^= 1
	kept, last, broken := decodeLedger(whole)
	if len(kept) != 2 || last != 3 || broken != 1 {
		t.Errorf("one broken record: %v, last %d, %d broken", kept, last, broken)
	}
}

func TestLedgerBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := openTestLedger(t, path)
	defer closeLedger(t, l)
	const n = 2*keepExits + 100
	begin := l.Begin()
	for i := range n {
		l.Append(i, 1, 0, time.Time{})
	}
	for i := n - keepExits; i < n; i++ {
		if l.kept[len(l.kept)-n+i].pid != uint32(i) {
			t.Fatalf("exit %d is not kept", i)
		}
	}
	stat, err := os.Stat(path)
	const limit = 2*(keepExits+keepSlack) + rewriteOver + 2
	if err != nil || len(l.kept) > keepExits+keepSlack || stat.Size() > limit*recordSize {
		t.Errorf("%d exits kept, file %d bytes, %v", len(l.kept), stat.Size(), err)
	}
	if _, _, err := l.After(begin); !errdefs.IsOutOfRange(err) {
		t.Errorf("a follower that was too slow: %v", err)
	}
	next, seen := l.Begin(), 0
	for {
		exits, _, err := l.After(next)
		if err != nil {
			t.Fatal(err)
		}
		if len(exits) == 0 {
			break
		}
		seen, next = seen+len(exits), exits[len(exits)-1].Seq
	}
	if seen != len(l.kept) || next != n {
		t.Errorf("a follower saw %d of %d exits, the last %d", seen, len(l.kept), next)
	}
	for i := range 5000 {
		l.Forget(n-1-i, 1)
	}
	if got := l.kept[len(l.kept)-1].pid; got != n-5001 {
		t.Errorf("the newest exit that is not forgotten is of %d", got)
	}
}

// A disk that refuses costs nothing but the file: the exits stay in memory, and in the file once it answers.
func TestLedgerDiskRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := openTestLedger(t, path)
	good := l.file
	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	l.file = readOnly
	l.Append(1, 1, 0, time.Now())
	l.Append(2, 1, 0, time.Now())
	if got, _, err := l.After(0); err != nil || len(got) != 2 {
		t.Errorf("in memory: %v, %v", got, err)
	}
	good.Close()
	closeLedger(t, l)
	l = openTestLedger(t, path)
	defer closeLedger(t, l)
	if got, _, err := l.After(0); err != nil || len(got) != 2 {
		t.Errorf("in the file: %v, %v", got, err)
	}
}

func FuzzDecodeLedger(f *testing.F) {
	f.Add(encodeRecord(encodeRecord(nil, kindExit, entry{seq: 1, pid: 2}), kindForget, entry{seq: 1}))
	f.Add(append(encodeRecord(nil, kindLast, entry{seq: 9}), "torn"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Any bytes, and the same with sums that are right.
		repaired := slices.Clone(data)
		for i := 0; i+recordSize <= len(data); i += recordSize {
			_, e, _ := decodeRecord(data[i:])
			copy(repaired[i:], encodeRecord(nil, uint32(data[i+32]%4), e))
		}
		for _, file := range [][]byte{data, repaired} {
			kept, last, _ := decodeLedger(file)
			for i, e := range kept {
				if e.seq > last || i > 0 && kept[i-1].seq >= e.seq {
					t.Fatalf("exit %d after %v, last %d", e.seq, kept[:i], last)
				}
			}
			again := append(encodeRecord(nil, kindLast, entry{seq: last}), encodeKept(kept)...)
			kept2, last2, broken := decodeLedger(again)
			if !slices.Equal(kept, kept2) || last != last2 || broken > 0 {
				t.Fatalf("%v, %d became %v, %d with %d broken", kept, last, kept2, last2, broken)
			}
		}
	})
}

func encodeKept(kept []entry) (data []byte) {
	for _, e := range kept {
		data = encodeRecord(data, kindExit, e)
	}
	return data
}

func TestLedgerV1(t *testing.T) {
	recorded, err := os.ReadFile("../../testdata/v1/ledger")
	if err != nil {
		t.Fatal(err)
	}
	boot := procfs.BootID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	newer := slices.Clone(recorded)
	newer = append(encodeRecord(nil, kindHead, entry{pid: ledgerFormat + 1}), newer[recordSize:]...)
	broken := slices.Clone(recorded)
	broken[3] ^= 1
	for name, c := range map[string]struct {
		data []byte
		boot procfs.BootID
		pids []int
	}{
		"read":            {recorded, boot, []int{101, 103, 101}},
		"another boot":    {recorded, procfs.BootID{9}, []int{}},
		"broken head":     {broken, boot, []int{101, 103, 101}},
		"before the head": {recorded[recordSize:], boot, []int{101, 103, 101}},
		"newer":           {newer, boot, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := Open(path, c.boot, log.New(t.Output(), "", 0))
			if c.pids == nil {
				numbers := fmt.Sprintf("format %d, and this keeper reads formats up to %d", ledgerFormat+1,
					ledgerFormat)
				if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), numbers) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer closeLedger(t, l)
			pids := []int{}
			exits, _, err := l.After(l.Begin())
			for _, e := range exits {
				pids = append(pids, e.Pid)
			}
			if err != nil || !slices.Equal(pids, c.pids) {
				t.Errorf("exits of %v, %v", pids, err)
			}
			if l.Append(200, 1, 0, time.Now()); l.last != 8 {
				t.Errorf("the next exit is %d", l.last)
			}
		})
	}
}

// A ledger of another boot is another boot's over a restart of the keeper too.
func TestBootIsWrittenDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	for i, c := range []struct {
		boot procfs.BootID
		want int
	}{{procfs.BootID{1}, 0}, {procfs.BootID{1}, 1}, {procfs.BootID{2}, 0}, {procfs.BootID{2}, 1},
		{procfs.BootID{1}, 0}} {
		l, err := Open(path, c.boot, log.New(t.Output(), "", 0))
		if err != nil {
			t.Fatal(err)
		}
		if exits, _, err := l.After(l.Begin()); err != nil || len(exits) != c.want {
			t.Errorf("%d: %v, %v", i, exits, err)
		}
		l.Append(7, 7, 0, time.Now())
		closeLedger(t, l)
	}
}
