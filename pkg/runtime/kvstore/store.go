package kvstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// Limits, in bytes but for MaxOps.
const (
	MaxTable = 64                        // of a table's name
	MaxKey   = 1024                      //
	MaxValue = 1 << 20                   //
	MaxBatch = kvwire.MaxPayload - 8<<10 // of all records and names of a batch
	MaxOps   = 4096                      // operations of a batch

	maxIndexKey = 1 + MaxTable + MaxKey
)

// Errors to branch on.
var (
	// ErrNotFound is the answer that there is no such key. It is not the host's word.
	ErrNotFound = errors.New("kvstore: no such key")
	// ErrClosed is the answer of a Store after Close.
	ErrClosed = errors.New("kvstore: the store is closed")
	// ErrTooLarge is the answer to keys, values and batches beyond the limits.
	ErrTooLarge = errors.New("kvstore: too large")
	// ErrFailed is the answer to writes after one that the host has not acknowledged:
	// nobody knows whether it has happened until the store is opened again.
	ErrFailed = errors.New("kvstore: an earlier write failed, and the store has to be opened again")
	// ErrNotEmpty is Create's answer to a backend that has records.
	ErrNotEmpty = errors.New("kvstore: the host's store has, or had, records of another store")
)

// IntegrityError says what the host gave is not what we have put there. While a store
// is open nothing of that kind can be an accident of ours.
type IntegrityError struct {
	What string // the record
	Why  string
}

func (e *IntegrityError) Error() string {
	return fmt.Sprintf("kvstore: the host's store was tampered with or damaged: %s: %s", e.What, e.Why)
}

// RollbackError says that the store, at Open, is not the one that was left.
type RollbackError struct{ Why string }

func (e *RollbackError) Error() string {
	return fmt.Sprintf("kvstore: the host's store is not the one that was left: %s", e.Why)
}

// Options tune a Store; the zero value is the usual one.
type Options struct {
	// CacheSize bounds the index's part in memory, in bytes; 0 is 32 MiB. Half of
	// it may be changes that no checkpoint has yet.
	CacheSize int
	// ValueCache bounds the values in memory, in bytes; 0 is 16 MiB, and less is none.
	ValueCache int
	// RootInterval is how often, at most, the sealed root is written while there are
	// commits; 0 is one second.
	RootInterval time.Duration
}

const (
	defaultCache        = 32 << 20
	defaultValueCache   = 16 << 20
	defaultRootInterval = time.Second

	// maxLag bounds the commits that the sealed root does not have. Time is the
	// host's, so an interval alone would be no bound.
	maxLag = 4096

	// A checkpoint is made when the log since the last one has so much.
	maxLogCommits = 64 << 10
	maxLogBytes   = 8 << 20

	// queueSize is how many writers need not wait until they are noticed.
	queueSize = 256
)

// Store is an open store. Its methods may be called by many goroutines.
type Store struct {
	backend   Backend
	o         Options
	master    [KeySize]byte
	box       *box // of all records but values
	session   uint64
	next      atomic.Uint64 // version given last
	tables    sync.Map      // name to *Table
	queue     chan *request
	ending    chan struct{} // closed by Close
	sending   chan *flight
	landed    chan int      // requests of a commit that has ended
	ended     chan struct{} // closed when there are no commits any more
	closing   sync.Once
	closeErr  error
	rootWants chan struct{}

	mu      sync.RWMutex
	tree    *tree
	commit  uint64 // number of the last commit
	chain   digest
	flights []*flight // under way, in their order
	pinned  bool      // nothing may be evicted
	failure error     // why there are no writes any more

	// The committer's.
	sealed      uint64 // number given last
	sealedChain digest
	numbered    uint64 // number at the host given last
	lastLanding *landing
	nodes       uint64 // number given last
	logCommits  int
	logBytes    int

	rootMu  sync.Mutex    // one writes the sealed root at a time
	rootSeq atomic.Uint64 // commit that it has
}

// RootFile is the name of the sealed root.
const RootFile = "root"

// rootMagic begins the sealed root; its last byte is the version.
const rootMagic = "EOSROOT\x01"

// rootHeader is the size of what comes before the encrypted part: the magic, the
// store's id, and the number of the commit.
const rootHeader = 8 + 16 + 8

// Root is what anybody can read of a sealed root.
type Root struct {
	Version byte
	Store   [16]byte // says which store, and nothing else
	Commit  uint64   // that the store must have
}

// ParseRoot reads what is not encrypted of a sealed root.
func ParseRoot(b []byte) (*Root, error) {
	const want = rootHeader + nonceSize + digestSize + tagSize
	switch n := len(rootMagic) - 1; {
	case len(b) != want:
		return nil, fmt.Errorf("sealed root: %d bytes, it has %d", len(b), want)
	case string(b[:n]) != rootMagic[:n]:
		return nil, errors.New("sealed root: this is none")
	case b[n] != rootMagic[n]:
		return nil, fmt.Errorf("sealed root: version %d, this program knows %d", b[n], rootMagic[n])
	}
	return &Root{b[7], [16]byte(b[8:24]), le.Uint64(b[24:])}, nil
}

const digestSize = len(digest{})

func (s *Store) rootHeader(seq uint64) []byte {
	b := append([]byte(rootMagic), derive(s.master[:], "eos kv v1 id", 16)...)
	return le.AppendUint64(b, seq)
}

// saveRoot writes the sealed root, if it does not have the last commit.
func (s *Store) saveRoot(ctx context.Context) error {
	s.rootMu.Lock()
	defer s.rootMu.Unlock()
	s.mu.RLock()
	seq, chain := s.commit, s.chain
	s.mu.RUnlock()
	if seq == s.rootSeq.Load() {
		return nil
	}
	return s.putRoot(ctx, seq, chain)
}

func (s *Store) putRoot(ctx context.Context, seq uint64, chain digest) error {
	header := s.rootHeader(seq)
	if err := s.backend.PutFile(ctx, RootFile, s.box.seal(header, chain[:], header)); err != nil {
		return fmt.Errorf("kvstore: writing the sealed root: %w", err)
	}
	s.rootSeq.Store(seq)
	return nil
}

// loadRoot reads the sealed root.
func (s *Store) loadRoot(ctx context.Context) (seq uint64, chain digest, err error) {
	b, err := s.backend.GetFile(ctx, RootFile)
	if errors.Is(err, ErrAbsent) {
		return 0, chain, &RollbackError{"its sealed root is missing"}
	}
	if err != nil {
		return 0, chain, err
	}
	r, err := ParseRoot(b)
	if err != nil {
		return 0, chain, err
	}
	if header := s.rootHeader(r.Commit); string(header) != string(b[:rootHeader]) {
		return 0, chain, &RollbackError{"its sealed root is of another store"}
	}
	text, ok := s.box.open(b[rootHeader:], b[:rootHeader])
	if !ok {
		return 0, chain, &RollbackError{"its sealed root does not open: it was changed"}
	}
	return r.Commit, digest(text), nil
}

func newStore(b Backend, master [KeySize]byte, o Options) *Store {
	if o.CacheSize == 0 {
		o.CacheSize = defaultCache
	}
	if o.ValueCache == 0 {
		o.ValueCache = defaultValueCache
	}
	if o.RootInterval == 0 {
		o.RootInterval = defaultRootInterval
	}
	var r [8]byte
	rand.Read(r[:]) // never fails
	return &Store{
		backend: b, o: o, master: master, box: newBox(derive(master[:], "eos kv v1 index", 32)), session: binary.LittleEndian.Uint64(r[:]),
		tree: newTree(), queue: make(chan *request, queueSize), ending: make(chan struct{}),
		sending: make(chan *flight), landed: make(chan int, maxUnderWay), ended: make(chan struct{}), rootWants: make(chan struct{}, 1),
	}
}

// Create makes an empty store under a new master key: once, before the key is kept.
// The error is ErrNotEmpty if the backend has records, which no key of ours opens then,
// or the sealed root of a store that had some.
func Create(ctx context.Context, b Backend, master [KeySize]byte) error {
	found, err := b.Scan(ctx, nil, nil, 1)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return ErrNotEmpty
	}
	switch old, err := b.GetFile(ctx, RootFile); {
	case errors.Is(err, ErrAbsent):
	case err != nil:
		return err
	default: // a Create that was cut off has left one without commits
		if r, err := ParseRoot(old); err != nil || r.Commit > 0 {
			return ErrNotEmpty
		}
	}
	s := newStore(b, master, Options{})
	return s.putRoot(ctx, 0, digest{})
}

// Open opens a store that Create has made, with the same key. What can be wrong is
// a *RollbackError, an *IntegrityError, a *HostError.
func Open(ctx context.Context, b Backend, master [KeySize]byte, o Options) (*Store, error) {
	s := newStore(b, master, o)
	if err := s.recover(ctx); err != nil {
		return nil, err
	}
	s.sealed, s.sealedChain = s.commit, s.chain
	s.lastLanding = &landing{done: make(chan struct{})}
	close(s.lastLanding.done)
	go s.commits()
	go func() {
		var all sync.WaitGroup
		for range maxUnderWay {
			all.Go(s.sends)
		}
		all.Wait()
		close(s.ended)
	}()
	go s.roots()
	return s, nil
}

// OpenMemory opens a new store that is gone with the process: for tests.
func OpenMemory(ctx context.Context) (*Store, error) {
	b := NewMemory()
	var master [KeySize]byte
	rand.Read(master[:])
	if err := Create(ctx, b, master); err != nil {
		return nil, err
	}
	return Open(ctx, b, master, Options{})
}

// Close waits for the commit under way and writes the sealed root. Writes that have not
// begun, and all later ones, get ErrClosed. Nothing acknowledged is lost without Close.
func (s *Store) Close(ctx context.Context) error {
	s.closing.Do(func() {
		close(s.ending)
		select {
		case <-s.ended:
		case <-ctx.Done():
			s.closeErr = ctx.Err()
			return
		}
		// Another writing of the root may be waiting for a host that does not answer.
		saved := make(chan error, 1)
		go func() { saved <- s.saveRoot(ctx) }()
		select {
		case s.closeErr = <-saved:
		case <-ctx.Done():
			s.closeErr = ctx.Err()
		}
	})
	return s.closeErr
}

// roots writes the sealed root now and then.
func (s *Store) roots() {
	for {
		select {
		case <-s.ending:
			return
		case <-s.rootWants:
		}
		select {
		case <-s.ending:
			return
		case <-time.After(s.o.RootInterval):
		}
		// A host that does not write it is told when the commits without it are
		// too many.
		_ = s.saveRoot(context.Background())
	}
}

// Stats are numbers about a store.
type Stats struct {
	Keys    uint64
	Commit  uint64 // number of the last commit
	Root    uint64 // commit that the sealed root has
	Memory  int    // that index and values take, about, in bytes
	Failure error  // why there are no writes any more, or nil
}

// Stats returns the numbers of now.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{s.tree.keys, s.commit, s.rootSeq.Load(), s.tree.memory + s.tree.values, s.failure}
}
