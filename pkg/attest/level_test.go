package attest

import (
	"testing"
)

// Intel's library merges statuses by this table.
func TestConverge(t *testing.T) {
	for _, c := range []struct{ platform, part, want TCBStatus }{
		{UpToDate, UpToDate, UpToDate},
		{UpToDate, OutOfDate, OutOfDate},
		{SWHardeningNeeded, UpToDate, SWHardeningNeeded},
		{SWHardeningNeeded, OutOfDate, OutOfDate},
		{ConfigurationNeeded, UpToDate, ConfigurationNeeded},
		{ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded},
		{ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded},
		{OutOfDate, OutOfDate, OutOfDate},
		{OutOfDate, UpToDate, OutOfDate},
		{OutOfDateConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded},
		{Revoked, OutOfDate, Revoked},
		{UpToDate, Revoked, Revoked},
		{Revoked, UpToDate, Revoked},
		{UpToDate, SWHardeningNeeded, OutOfDate}, // no word of parts
		{UpToDate, StatusUnknown, OutOfDate},
	} {
		if got := converge(c.platform, c.part); got != c.want {
			t.Errorf("%v with a part %v: %v, want %v", c.platform, c.part, got, c.want)
		}
	}
}

// Every SVN counts for itself: a higher one does not make up for a lower one.
func TestReaches(t *testing.T) {
	level := TCBLevel{SGX: [16]uint8{5, 5, 0, 2, 15: 1}, PCESVN: 10, TDX: &[16]uint8{3, 0, 6, 15: 1}}
	pck := PCKExtensions{TCB: level.SGX, PCESVN: 10}
	td := TDReport{TEETCBSVN: *level.TDX}
	if !reaches(&pck, nil, &level) || !reaches(&pck, &td, &level) {
		t.Fatal("equal SVNs do not reach")
	}
	for i, n := range level.SGX {
		low := pck
		for j := range low.TCB {
			low.TCB[j] += 7
		}
		if low.TCB[i] = n - 1; n == 0 {
			continue
		}
		low.PCESVN = 99
		if reaches(&low, nil, &level) {
			t.Errorf("SVN %d too low: reached", i)
		}
	}
	low := pck
	low.PCESVN = 9
	if reaches(&low, nil, &level) {
		t.Error("PCESVN too low: reached")
	}
	for i, n := range level.TDX {
		if n == 0 {
			continue
		}
		// SVNs 0 and 1 are the module's own where modules have versions.
		for version, want := range map[uint8]bool{0: false, 1: i < 2} {
			low := td
			low.TEETCBSVN[1] = version
			if low.TEETCBSVN[i] = n - 1; i == 1 {
				continue
			}
			if reaches(&pck, &low, &level) != want {
				t.Errorf("TDX SVN %d too low, module version %d: want %v", i, version, want)
			}
		}
	}
}

func TestMatchEnclave(t *testing.T) {
	levels := []EnclaveLevel{{ISVSVN: 8, Status: UpToDate}, {ISVSVN: 6, Status: OutOfDate}, {ISVSVN: 2, Status: Revoked}}
	for svn, want := range map[uint16]int{9: 0, 8: 0, 7: 1, 6: 1, 5: 2, 2: 2, 1: -1, 0: -1} {
		f := matchEnclave("QE", svn, levels)
		if f == nil && want >= 0 || f != nil && (f.Index != want || f.Matched.ISVSVN > svn || f.Newest.ISVSVN != 8) {
			t.Errorf("SVN %d: %+v, want %d", svn, f, want)
		}
	}
}

func TestMemo(t *testing.T) {
	var m memo[int]
	key := func(i int) [32]byte { return [32]byte{byte(i), byte(i >> 8)} }
	for i := range memoSize + 10 {
		m.put(key(i), i)
		m.put(key(i), -1) // the first stays
	}
	if len(m.vals) != memoSize || len(m.order) != memoSize {
		t.Errorf("%d values, %d keys", len(m.vals), len(m.order))
	}
	if _, ok := m.get(key(9)); ok {
		t.Error("the oldest is still there")
	}
	if v, ok := m.get(key(10)); !ok || v != 10 {
		t.Errorf("%v %v", v, ok)
	}
}
