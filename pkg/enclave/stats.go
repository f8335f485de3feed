package enclave

// Stats is what the kernel has given to the program, of what the image provides.
type Stats struct {
	Heap, HeapMax       uint64 // bytes of the heap, now and at most
	Threads, ThreadsMax int    // threads, now and at most
}

// statistic is a number of the kernel's call.
type statistic uintptr

const (
	statHeap statistic = iota
	statHeapMax
	statThreads
	statThreadsMax
)

// ReadStats asks the kernel. The numbers are not of one instant.
func ReadStats() (s Stats, err error) {
	var v [4]uint64
	// Now before at most: else a growth in between would contradict itself.
	for _, n := range [...]statistic{statHeap, statThreads, statHeapMax, statThreadsMax} {
		if v[n], err = (kernel{}).statistic(n); err != nil {
			return Stats{}, err
		}
	}
	return Stats{v[statHeap], v[statHeapMax], int(v[statThreads]), int(v[statThreadsMax])}, nil
}
