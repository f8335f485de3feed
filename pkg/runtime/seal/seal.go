package seal

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/sgx"
)

// File is the name of the configuration's file.
const File = "config"

// purpose is the additional data of the seal.
var purpose = []byte("eos sealed configuration")

// Sealer is the processor's sealing, as package enclave has it.
type Sealer interface {
	Seal(policy sgx.KeyPolicy, plaintext, additional []byte) ([]byte, error)
	Unseal(blob, additional []byte) ([]byte, error)
}

type processor struct{}

func (processor) Seal(policy sgx.KeyPolicy, plaintext, additional []byte) ([]byte, error) {
	return enclave.Seal(policy, plaintext, additional)
}

func (processor) Unseal(blob, additional []byte) ([]byte, error) {
	return enclave.Unseal(blob, additional)
}

// OpenError says why the state does not open, and what to do.
type OpenError struct {
	Err  error
	Hint string
}

func (e *OpenError) Error() string { return fmt.Sprintf("sealed state: %v; hint: %s", e.Err, e.Hint) }
func (e *OpenError) Unwrap() error { return e.Err }

// State is the open state of an enclave. Its methods may be called by many goroutines.
type State struct {
	Store *kvstore.Store
	First bool // the state was made by this Open

	backend kvstore.Backend
	sealer  Sealer
	mu      sync.Mutex // held by Update
	config  *config    // never changed, but replaced under both locks
	reading sync.RWMutex
}

// Table is the name of the store's table that is ours.
const Table = "eos:state"

var generationKey = []byte("configuration's generation")

// Open opens the state, or makes it if there is none, with the sections that first sets:
// there is never a state without them. first may be nil. An error is an *OpenError unless
// it is the host's failure, that of ctx, or that of first.
func Open(ctx context.Context, b kvstore.Backend, first func(sections map[string][]byte) error) (*State, error) {
	return OpenWith(ctx, b, processor{}, kvstore.Options{}, first)
}

// OpenWith is Open with another processor, for tests, and options for the store.
func OpenWith(ctx context.Context, b kvstore.Backend, sealer Sealer, o kvstore.Options, first func(sections map[string][]byte) error) (*State, error) {
	s := &State{backend: b, sealer: sealer}
	err := s.load(ctx)
	if errors.Is(err, kvstore.ErrAbsent) {
		s.First = true
		err = s.make(ctx, first)
	}
	if err != nil {
		return nil, err
	}
	if s.Store, err = kvstore.Open(ctx, b, s.storeKey(), o); err != nil {
		return nil, hinted(err)
	}
	if err := s.checkGeneration(ctx); err != nil {
		return nil, errors.Join(err, s.Store.Close(ctx))
	}
	return s, nil
}

// load reads the configuration; the error is kvstore.ErrAbsent if there is none.
func (s *State) load(ctx context.Context) error {
	b, err := s.backend.GetFile(ctx, File)
	if err != nil {
		return err
	}
	blob, err := enclave.ParseBlob(b)
	if err != nil {
		return hinted(err)
	}
	// Another image of the same signer could have made that.
	if blob.Policy != sgx.PolicyMREnclave {
		return hinted(fmt.Errorf("%w: its seal policy is %#x, not MRENCLAVE", errForged, uint16(blob.Policy)))
	}
	text, err := s.sealer.Unseal(b, purpose)
	if err != nil {
		return hinted(err)
	}
	if s.config, err = parse(text); err != nil {
		return hinted(err)
	}
	return nil
}

// make makes a new state. The store is made before: a crash in between leaves an empty
// store and no configuration, which is a first start again.
func (s *State) make(ctx context.Context, first func(sections map[string][]byte) error) error {
	s.config = &config{generation: 1, sections: map[string][]byte{}}
	if first != nil {
		if err := first(s.config.sections); err != nil {
			return err
		}
	}
	rand.Read(s.config.master[:]) // never fails
	if err := kvstore.Create(ctx, s.backend, s.storeKey()); err != nil {
		return hinted(err)
	}
	return s.write(ctx, s.config)
}

func (s *State) write(ctx context.Context, c *config) error {
	text, err := c.append(nil)
	if err != nil {
		return err
	}
	defer clear(text)
	blob, err := s.sealer.Seal(sgx.PolicyMREnclave, text, purpose)
	if err != nil {
		return fmt.Errorf("sealed configuration: %w", err)
	}
	if err := s.backend.PutFile(ctx, File, blob); err != nil {
		return fmt.Errorf("sealed configuration: %w", err)
	}
	return nil
}

// checkGeneration holds the configuration against what the store knows of it.
func (s *State) checkGeneration(ctx context.Context) error {
	b, err := s.Store.Table(Table).Get(ctx, generationKey)
	switch known := uint64(0); {
	case errors.Is(err, kvstore.ErrNotFound):
	case err != nil:
		return hinted(err)
	case len(b) != 8:
		return hinted(errText)
	default:
		if known = binary.LittleEndian.Uint64(b); known > s.config.generation {
			return hinted(&kvstore.RollbackError{Why: fmt.Sprintf("the sealed configuration is number %d, and there was number %d", s.config.generation, known)})
		}
		if known == s.config.generation {
			return nil
		}
	}
	return s.keepGeneration(ctx, s.config.generation)
}

func (s *State) keepGeneration(ctx context.Context, g uint64) error {
	return s.Store.Table(Table).Put(ctx, generationKey, binary.LittleEndian.AppendUint64(nil, g))
}

// Generation is the number of the configuration: 1, and one more for each Update.
func (s *State) Generation() uint64 { return s.current().generation }

func (s *State) current() *config {
	s.reading.RLock()
	defer s.reading.RUnlock()
	return s.config
}

// Sections returns the configuration's sections. The map is the caller's, the slices
// are not to be changed.
func (s *State) Sections() map[string][]byte { return maps.Clone(s.current().sections) }

// Update changes the sections: f gets a copy, which is sealed and replaces the file if f
// returns nil. When Update has returned nil, the change survives what the host survives;
// after an error it may be there at the next start, but not before. f may replace
// slices, not change them.
func (s *State) Update(ctx context.Context, f func(sections map[string][]byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current()
	c := &config{generation: old.generation + 1, master: old.master, sections: maps.Clone(old.sections)}
	if err := f(c.sections); err != nil {
		return err
	}
	for name, b := range c.sections {
		c.sections[name] = append([]byte{}, b...)
	}
	if err := s.write(ctx, c); err != nil {
		return err
	}
	if err := s.keepGeneration(ctx, c.generation); err != nil {
		return err
	}
	s.reading.Lock()
	s.config = c
	s.reading.Unlock()
	return nil
}

// Key derives a key for a purpose from the master key. It is the same as long as the
// state is.
func (s *State) Key(label string) [KeySize]byte { return s.derive("eos key v1 " + label) }

func (s *State) storeKey() [KeySize]byte { return s.derive("eos store v1") }

func (s *State) derive(info string) [KeySize]byte {
	k, err := hkdf.Key(sha256.New, s.current().master[:], nil, info, KeySize)
	if err != nil { // of a size beyond HKDF's
		panic(err)
	}
	return [KeySize]byte(k)
}

// Close closes the store. What was written is kept without Close, too.
func (s *State) Close(ctx context.Context) error { return s.Store.Close(ctx) }

var errForged = errors.New("sealed configuration: not one of this runtime's")

// hinted says what to do about what does not open.
func hinted(err error) error {
	var (
		bad      *enclave.BlobError
		other    *enclave.OtherEnclaveError
		newer    *VersionError
		rollback *kvstore.RollbackError
		tampered *kvstore.IntegrityError
	)
	hint := ""
	switch {
	case errors.As(err, &other) && other.What == "MRENCLAVE":
		hint = "the state belongs to that image alone: run it with the image that has made it, or give this one a --state of its own"
	case errors.As(err, &other):
		hint = "run the image as it was when it made the state, debug or not, or give it a new --state"
	case errors.Is(err, enclave.ErrNewer), errors.As(err, &newer):
		hint = "run the newer version that has sealed it, or restore a backup from before"
	case errors.Is(err, enclave.ErrNotAuthentic):
		hint = "a state opens only on the machine where it was made; if this is that machine, restore a backup"
	case errors.As(err, &bad), errors.Is(err, errText), errors.Is(err, errForged):
		hint = "the file was damaged or changed: restore a backup of the whole state directory"
	case errors.Is(err, kvstore.ErrNotEmpty):
		hint = "the sealed configuration, which has its keys, is missing: restore a backup of the whole state directory, or start with a new --state"
	case errors.As(err, &rollback), errors.As(err, &tampered):
		hint = "restore a backup of the whole state directory, all its files from the same time"
	default:
		return err
	}
	return &OpenError{err, hint}
}
