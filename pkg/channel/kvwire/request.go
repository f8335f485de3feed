package kvwire

// Op is a part of a batch.
type Op struct {
	Key    []byte
	Value  []byte // of a put
	Delete bool
}

// AppendPut appends the request of a KvPut.
func AppendPut(b []byte, table string, key, value []byte) []byte {
	return append(putBytes(putTable(b, table), key), value...)
}

// ParsePut parses the request of a KvPut. Here and below the results are parts of b,
// and an error is an *Error.
func ParsePut(b []byte) (table string, key, value []byte, err error) {
	c := request(Put, b)
	table = c.table()
	key = c.key(c.bytes(c.u32("key"), "key"))
	value = c.value(c.remains())
	return table, key, value, c.end()
}

// AppendGet appends the request of a KvGet or a KvDelete.
func AppendGet(b []byte, table string, key []byte) []byte {
	return append(putTable(b, table), key...)
}

// ParseGet parses the request of a KvGet or a KvDelete.
func ParseGet(b []byte) (table string, key []byte, err error) {
	c := request(Get, b)
	table = c.table()
	key = c.key(c.remains())
	return table, key, c.end()
}

// AppendListKeys appends the request of a KvListKeys.
func AppendListKeys(b []byte, table string, prefix []byte) []byte {
	return append(putTable(b, table), prefix...)
}

// ParseListKeys parses the request of a KvListKeys.
func ParseListKeys(b []byte) (table string, prefix []byte, err error) {
	c := request(ListKeys, b)
	table = c.table()
	prefix = c.bound(c.remains(), "a prefix")
	return table, prefix, c.end()
}

// AppendWriteBatch appends the request of a KvWriteBatch.
func AppendWriteBatch(b []byte, table string, ops []Op) []byte {
	b = le.AppendUint32(putTable(b, table), uint32(len(ops)))
	for _, o := range ops {
		if o.Delete {
			b = putBytes(append(b, 1), o.Key)
		} else {
			b = putBytes(putBytes(append(b, 0), o.Key), o.Value)
		}
	}
	return b
}

// OpSize is how many bytes an operation takes in a batch.
func OpSize(o Op) int {
	if o.Delete {
		return 1 + 4 + len(o.Key)
	}
	return 1 + 4 + len(o.Key) + 4 + len(o.Value)
}

// ParseWriteBatch parses the request of a KvWriteBatch.
func ParseWriteBatch(b []byte) (table string, ops []Op, err error) {
	c := request(WriteBatch, b)
	table, ops = c.batch()
	return table, ops, c.end()
}

// AppendCommit appends the request of a KvCommit.
func AppendCommit(b []byte, number uint64, table string, ops []Op) []byte {
	return AppendWriteBatch(le.AppendUint64(b, number), table, ops)
}

// ParseCommit parses the request of a KvCommit.
func ParseCommit(b []byte) (number uint64, table string, ops []Op, err error) {
	c := request(Commit, b)
	number = c.u64("number")
	if number == 0 {
		c.fail("number 0: the first is 1")
	}
	table, ops = c.batch()
	return number, table, ops, c.end()
}

func (c *cursor) batch() (table string, ops []Op) {
	table = c.table()
	n := c.count(MaxPayload, 1+4+1)
	ops = make([]Op, 0, n)
	for i := 0; i < n && c.err == nil; i++ {
		op := c.u8("operation")
		if op > 1 {
			c.fail("operation %d is %d: neither put (0) nor deletion (1)", i, op)
		}
		o := Op{Delete: op == 1, Key: c.key(c.bytes(c.u32("key"), "key"))}
		if !o.Delete {
			o.Value = c.value(c.bytes(c.u32("value"), "value"))
		}
		ops = append(ops, o)
	}
	return table, ops
}

// AppendMultiGet appends the request of a KvMultiGet.
func AppendMultiGet(b []byte, table string, keys [][]byte) []byte {
	b = le.AppendUint32(putTable(b, table), uint32(len(keys)))
	for _, k := range keys {
		b = putBytes(b, k)
	}
	return b
}

// ParseMultiGet parses the request of a KvMultiGet.
func ParseMultiGet(b []byte) (table string, keys [][]byte, err error) {
	c := request(MultiGet, b)
	table = c.table()
	n := c.count(MaxItems, 4+1)
	keys = make([][]byte, 0, n)
	for i := 0; i < n && c.err == nil; i++ {
		keys = append(keys, c.key(c.bytes(c.u32("key"), "key")))
	}
	return table, keys, c.end()
}

// AppendScan appends the request of a KvScan. A limit of 0 is MaxItems.
func AppendScan(b []byte, table string, limit uint32, start, end []byte) []byte {
	return append(putBytes(le.AppendUint32(putTable(b, table), limit), start), end...)
}

// ParseScan parses the request of a KvScan. The limit is 1 to MaxItems.
func ParseScan(b []byte) (table string, limit int, start, end []byte, err error) {
	c := request(Scan, b)
	table = c.table()
	limit = int(min(c.u32("limit"), MaxItems))
	if limit == 0 {
		limit = MaxItems
	}
	start = c.bound(c.bytes(c.u32("start"), "start"), "start")
	end = c.bound(c.remains(), "end")
	return table, limit, start, end, c.end()
}

// AppendDeleteRange appends the request of a KvDeleteRange.
func AppendDeleteRange(b []byte, table string, start, end []byte) []byte {
	return append(putBytes(putTable(b, table), start), end...)
}

// ParseDeleteRange parses the request of a KvDeleteRange.
func ParseDeleteRange(b []byte) (table string, start, end []byte, err error) {
	c := request(DeleteRange, b)
	table = c.table()
	start = c.bound(c.bytes(c.u32("start"), "start"), "start")
	end = c.bound(c.remains(), "end")
	return table, start, end, c.end()
}

// ParseStateGet parses the request of a StateGet, which is the name.
func ParseStateGet(b []byte) (name string, err error) {
	c := request(StateGet, b)
	name = c.name(c.remains())
	return name, c.end()
}

// AppendStatePut appends the request of a StatePut.
func AppendStatePut(b []byte, name string, content []byte) []byte {
	return append(putTable(b, name), content...)
}

// ParseStatePut parses the request of a StatePut.
func ParseStatePut(b []byte) (name string, content []byte, err error) {
	c := request(StatePut, b)
	name = c.name(c.bytes(c.u16("name"), "name"))
	content = c.remains()
	if len(content) > MaxFile {
		c.fail("the file has %d bytes, at most %d", len(content), MaxFile)
	}
	return name, content, c.end()
}

func (c *cursor) name(b []byte) string {
	if c.err == nil && !GoodName(string(b)) {
		c.fail("%q is no name of a file: 1 to %d of a-z, 0-9 and -", b, MaxName)
	}
	return string(b)
}
