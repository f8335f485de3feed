package runner

import (
	"sort"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Region is a run of pages of the same type and permissions.
type Region struct {
	Start, End uint64 // offsets
	Flags      sgx.SecInfoFlags
}

// addRegion appends a page, which lies above all others.
func addRegion(rs []Region, off uint64, flags sgx.SecInfoFlags) []Region {
	if n := len(rs); n > 0 && rs[n-1].End == off && rs[n-1].Flags == flags {
		rs[n-1].End += sgx.PageSize
		return rs
	}
	return append(rs, Region{off, off + sgx.PageSize, flags})
}

// FindRegion returns the region that holds off.
func FindRegion(rs []Region, off uint64) (Region, bool) {
	r, ok := RegionAbove(rs, off)
	return r, ok && r.Start <= off
}

// RegionAbove returns the region that holds off or, if there is none, the next
// one above it.
func RegionAbove(rs []Region, off uint64) (Region, bool) {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].End > off })
	if i == len(rs) {
		return Region{}, false
	}
	return rs[i], true
}
