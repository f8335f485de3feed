package kvstore

import (
	"context"
	"slices"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// checkpointBatch is how much of a checkpoint is written at once, in bytes.
const checkpointBatch = 512 << 10

// checkpoint writes the changed nodes, each as a new record, and then in one batch the
// record that makes them the index, without those that they replace. The sealed root
// follows, and only then is the log not needed any more: so there is, after a crash at
// any point, a checkpoint and all of the log from it and from the sealed root on.
func (s *Store) checkpoint(ctx context.Context) error {
	s.mu.Lock()
	s.pinned = true // nodes get their refs before they are with the host
	s.mu.Unlock()
	w := nodeWriter{s: s, ctx: ctx}
	s.mu.RLock()
	root := s.tree.root
	empty := s.tree.keys == 0
	seq, chain, keys := s.commit, s.chain, s.tree.keys
	s.mu.RUnlock()
	p := checkpoint{seq: seq, chain: chain, last: s.next.Load(), keys: keys}
	if !empty {
		if err := w.write(root); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
		p.root = root.ref
	}
	p.next = s.nodes
	record := s.box.seal([]byte{format}, p.appendText(nil), checkpointAAD)
	ops := []kvwire.Op{{Key: []byte{kindCheckpoint}, Value: record}}
	s.mu.RLock()
	garbage := slices.Clone(s.tree.garbage)
	s.mu.RUnlock()
	for _, r := range garbage[:min(len(garbage), maxGarbage)] {
		ops = append(ops, kvwire.Op{Key: numbered(kindNode, r.id), Delete: true})
	}
	if err := s.backend.Apply(ctx, ops); err != nil {
		return err
	}
	s.mu.Lock()
	s.tree.garbage = slices.Delete(s.tree.garbage, 0, len(ops)-1)
	s.tree.dirty = 0
	if empty {
		s.tree.dirty = s.tree.root.size
	}
	s.pinned = false
	s.evict()
	s.mu.Unlock()
	if err := s.saveRoot(ctx); err != nil {
		return err
	}
	s.logCommits, s.logBytes = 0, 0
	return s.backend.DeleteRange(ctx, numbered(kindLog, 0), numbered(kindLog, seq+1))
}

// maxGarbage is how many records a checkpoint deletes, so that they fit in its batch.
const maxGarbage = 32 << 10

// nodeWriter writes dirty nodes, children first.
type nodeWriter struct {
	s    *Store
	ctx  context.Context
	ops  []kvwire.Op
	size int
}

func (w *nodeWriter) write(n *node) error {
	w.s.mu.RLock()
	clean := n.ref != ref{}
	var kids []*node
	for _, k := range n.kids {
		if k.n != nil && k.n.ref == (ref{}) {
			kids = append(kids, k.n)
		}
	}
	w.s.mu.RUnlock()
	if clean {
		return nil
	}
	for _, k := range kids {
		if err := w.write(k); err != nil {
			return err
		}
	}
	// Only the committer, which this is, changes nodes; others load and evict kids.
	w.s.mu.Lock()
	w.s.nodes++
	r := ref{w.s.nodes, w.s.session}
	text := n.appendText(nil)
	n.ref = r
	w.s.mu.Unlock()
	op := kvwire.Op{Key: numbered(kindNode, r.id), Value: w.s.box.seal([]byte{format}, text, nodeAAD(r))}
	w.ops = append(w.ops, op)
	if w.size += kvwire.OpSize(op); w.size < checkpointBatch {
		return nil
	}
	return w.flush()
}

func (w *nodeWriter) flush() error {
	if len(w.ops) == 0 {
		return nil
	}
	err := w.s.backend.Apply(w.ctx, w.ops)
	w.ops, w.size = nil, 0
	return err
}
