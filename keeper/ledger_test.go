package keeper

import (
	"bytes"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func openTestLedger(t *testing.T, path string) *ledger {
	t.Helper()
	l, err := openLedger(path, bootID{1}, log.New(t.Output(), "", 0))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLedger(t *testing.T, l *ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLedgerReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := openTestLedger(t, path)
	for i := range 10 {
		l.append(100+i, uint64(i), uint32(i)<<8, time.Unix(int64(i), 5))
	}
	for i := range 5 {
		l.forget(105+i, uint64(5+i))
	}
	want, _, err := l.after(0)
	if err != nil || len(want) != 5 {
		t.Fatalf("%v, %v", want, err)
	}
	for range 3 { // each one writes the file anew
		closeLedger(t, l)
		l = openTestLedger(t, path)
		if got, _, err := l.after(0); err != nil || !slices.Equal(got, want) {
			t.Errorf("reopened: %v, not %v: %v", got, want, err)
		}
	}
	defer func() { closeLedger(t, l) }()
	l.append(1, 1, 0, time.Now())
	if got, _ := l.lookup(1, 1); got.Seq != 11 {
		t.Errorf("the next exit is %d", got.Seq)
	}
}

// Whatever the end of the file looks like after a kill, the records before it count, and the ledger goes on.
func TestLedgerTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := openTestLedger(t, path)
	for i := range 3 {
		l.append(100+i, 1, 0, time.Now())
	}
	closeLedger(t, l)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range recordSize {
		if err := os.WriteFile(path, append(slices.Clone(whole[:len(whole)-cut]), make([]byte, cut%2)...), 0o600); err != nil {
			t.Fatal(err)
		}
		l := openTestLedger(t, path)
		want := 2
		if cut == 0 {
			want = 3
		}
		if got, _, err := l.after(0); err != nil || len(got) != want {
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
	begin := l.begin()
	for i := range n {
		l.append(i, 1, 0, time.Time{})
	}
	for i := n - keepExits; i < n; i++ {
		if l.kept[len(l.kept)-n+i].pid != uint32(i) {
			t.Fatalf("exit %d is not kept", i)
		}
	}
	stat, err := os.Stat(path)
	if limit := 2*(keepExits+keepSlack) + rewriteOver + 2; err != nil || len(l.kept) > keepExits+keepSlack || stat.Size() > int64(limit*recordSize) {
		t.Errorf("%d exits kept, file %d bytes, %v", len(l.kept), stat.Size(), err)
	}
	if _, _, err := l.after(begin); !errdefs.IsOutOfRange(err) {
		t.Errorf("a follower that was too slow: %v", err)
	}
	next, seen := l.begin(), 0
	for {
		exits, _, err := l.after(next)
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
		l.forget(n-1-i, 1)
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
	l.append(1, 1, 0, time.Now())
	l.append(2, 1, 0, time.Now())
	if got, _, err := l.after(0); err != nil || len(got) != 2 {
		t.Errorf("in memory: %v, %v", got, err)
	}
	good.Close()
	closeLedger(t, l)
	l = openTestLedger(t, path)
	defer closeLedger(t, l)
	if got, _, err := l.after(0); err != nil || len(got) != 2 {
		t.Errorf("in the file: %v, %v", got, err)
	}
}

func TestWaitStatus(t *testing.T) {
	for _, test := range []struct {
		code, status int32
		want         int
	}{{childExited, 7, 7}, {childExited, 255, 255}, {2, int32(unix.SIGKILL), 137}, {childDumped, int32(unix.SIGABRT), 134}} {
		status := childInfo{code: test.code, status: test.status}.waitStatus()
		if got := (Exit{Status: status}).Code(); got != test.want {
			t.Errorf("code %d status %d: %d, not %d", test.code, test.status, got, test.want)
		}
		if dumped := unix.WaitStatus(status).CoreDump(); dumped != (test.code == childDumped) {
			t.Errorf("code %d: core dumped %v", test.code, dumped)
		}
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

func FuzzParseStartTime(f *testing.F) {
	if self, err := os.ReadFile("/proc/self/stat"); err == nil {
		f.Add(self)
	}
	f.Add([]byte("1 (a) b) S 2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		start, err := parseStartTime(data)
		if err == nil && !bytes.Contains(data, strconv.AppendUint(nil, start, 10)) && !bytes.Contains(data, []byte("0")) {
			t.Errorf("start time %d is nowhere in it", start)
		}
	})
}
