package openflow

const (
	onf               = 0x4f4e4600
	errorFlowMonitor  = 16
	errorExperimenter = 0xffff
)

// errorTypes are the names of ofp_error_type (section 7.5.4).
var errorTypes = []string{
	"hello failed", "bad request", "bad action", "bad instruction", "bad match", "flow mod failed", "group mod failed",
	"port mod failed", "table mod failed", "queue op failed", "switch config failed", "role request failed",
	"meter mod failed", "table features failed", "bad property", "async config failed", "flow monitor failed", "bundle failed",
}

// errorCodes are names of the codes by type (section 7.5.4).
var errorCodes = map[[2]uint16]string{
	{0, 0}: "no common version", {0, 1}: "no permission",

	{1, 0}: "bad version", {1, 1}: "unknown type", {1, 2}: "unknown multipart type", {1, 3}: "unknown experimenter",
	{1, 4}: "unknown type of the experimenter", {1, 5}: "no permission", {1, 6}: "length", {1, 7}: "buffer used", {1, 8}: "no such buffer",
	{1, 9}: "no such table", {1, 10}: "connection is secondary", {1, 11}: "no such port", {1, 12}: "bad packet",
	{1, 13}: "multipart too long", {1, 14}: "multipart request timeout", {1, 15}: "multipart reply timeout",
	{1, 16}: "scheduling tolerance", {1, 17}: "only pipeline fields may match", {1, 18}: "unspecified",

	{2, 0}: "unknown type", {2, 1}: "length", {2, 2}: "unknown experimenter", {2, 3}: "unknown type of the experimenter", {2, 4}: "no such port",
	{2, 5}: "bad argument", {2, 6}: "no permission", {2, 7}: "too many", {2, 8}: "no such queue", {2, 9}: "no such group",
	{2, 10}: "inconsistent with the match", {2, 11}: "unsupported order", {2, 12}: "bad tag", {2, 13}: "field cannot be set",
	{2, 14}: "bad length of a field", {2, 15}: "bad value of a field", {2, 16}: "bad mask of a field", {2, 17}: "no such meter",

	{3, 0}: "unknown instruction", {3, 1}: "unsupported instruction", {3, 2}: "no such table", {3, 3}: "metadata value", {3, 4}: "metadata mask",
	{3, 5}: "unknown experimenter", {3, 6}: "unknown type of the experimenter", {3, 7}: "length", {3, 8}: "no permission", {3, 9}: "given twice",

	{4, 0}: "unknown type", {4, 1}: "length", {4, 2}: "bad tag", {4, 3}: "bad mask of a MAC address", {4, 4}: "bad mask of an IP address",
	{4, 5}: "fields left out", {4, 6}: "unknown field", {4, 7}: "bad value", {4, 8}: "bad mask", {4, 9}: "prerequisite is missing",
	{4, 10}: "field given twice", {4, 11}: "no permission",

	{5, 0}: "unspecified", {5, 1}: "table full", {5, 2}: "no such table", {5, 3}: "overlaps", {5, 4}: "no permission", {5, 5}: "bad timeout",
	{5, 6}: "unknown command", {5, 7}: "bad flags", {5, 8}: "cannot be synchronised", {5, 9}: "bad priority", {5, 10}: "is synchronised",

	{6, 0}: "group exists", {6, 1}: "invalid group", {6, 2}: "weights unsupported", {6, 3}: "out of groups", {6, 4}: "out of buckets",
	{6, 5}: "chaining unsupported", {6, 6}: "watching unsupported", {6, 7}: "loop", {6, 8}: "no such group", {6, 9}: "another group uses it",
	{6, 10}: "bad type", {6, 11}: "unknown command", {6, 12}: "bad bucket", {6, 13}: "bad watch", {6, 14}: "no permission",
	{6, 15}: "no such bucket", {6, 16}: "bucket exists",

	{7, 0}: "no such port", {7, 1}: "wrong MAC address", {7, 2}: "bad configuration", {7, 3}: "bad features", {7, 4}: "no permission",
	{8, 0}: "no such table", {8, 1}: "bad configuration", {8, 2}: "no permission",
	{9, 0}: "no such port", {9, 1}: "no such queue", {9, 2}: "no permission",
	{10, 0}: "bad flags", {10, 1}: "bad length", {10, 2}: "no permission",
	{11, 0}: "stale generation", {11, 1}: "unsupported", {11, 2}: "bad role", {11, 3}: "id unsupported", {11, 4}: "id in use",

	{12, 0}: "unspecified", {12, 1}: "meter exists", {12, 2}: "invalid meter", {12, 3}: "no such meter", {12, 4}: "unknown command",
	{12, 5}: "bad flags", {12, 6}: "bad rate", {12, 7}: "bad burst", {12, 8}: "bad band", {12, 9}: "bad value of a band",
	{12, 10}: "out of meters", {12, 11}: "out of bands",

	{13, 0}: "no such table", {13, 1}: "bad metadata mask", {13, 5}: "no permission", {13, 6}: "bad capability", {13, 7}: "bad limit of flows",
	{13, 8}: "bad features", {13, 9}: "unknown command", {13, 10}: "too many tables",

	{14, 0}: "unknown type", {14, 1}: "length", {14, 2}: "bad value", {14, 3}: "too many", {14, 4}: "given twice", {14, 5}: "unknown experimenter",
	{14, 6}: "unknown type of the experimenter", {14, 7}: "bad value of the experimenter", {14, 8}: "no permission",

	{15, 0}: "bad mask", {15, 1}: "unsupported", {15, 2}: "no permission",

	{16, 0}: "unspecified", {16, 1}: "monitor exists", {16, 2}: "invalid monitor", {16, 3}: "no such monitor", {16, 4}: "unknown command",
	{16, 5}: "bad flags", {16, 6}: "no such table", {16, 7}: "bad output",

	{17, 0}: "unspecified", {17, 1}: "no permission", {17, 2}: "no such bundle", {17, 3}: "bundle exists", {17, 4}: "bundle closed",
	{17, 5}: "too many bundles", {17, 6}: "unknown control type", {17, 7}: "bad flags", {17, 8}: "length of a message", {17, 9}: "transaction id of a message",
	{17, 10}: "message unsupported", {17, 11}: "messages do not go together", {17, 12}: "too many messages", {17, 13}: "a message failed",
	{17, 14}: "timeout", {17, 15}: "in progress", {17, 16}: "scheduling unsupported", {17, 17}: "scheduled too late", {17, 18}: "scheduled in the past",
}

// onfErrors are the first of the ONF's codes for OpenFlow 1.3, and the codes of
// the standard since that they stand for.
var onfErrors = []struct {
	first, n, typ, code uint16
}{
	{2300, 16, 17, 0}, {2360, 1, 5, 9}, {2370, 3, 15, 0}, {2600, 1, 3, 9}, {2640, 2, 1, 14}, {4250, 1, 2, 16}, {4443, 6, 14, 3},
}

// niciraErrors are names of Nicira's codes, as Open vSwitch has them since
// OpenFlow 1.2.
var niciraErrors = map[uint16]string{
	2: "bad match", 3: "unknown field", 4: "must be zero", 5: "bad reason", 6: "monitor exists", 7: "bad flags of a monitor", 8: "no such monitor", 9: "bad flow monitor event", 10: "error that cannot be said",
	11: "must be zero in an action", 12: "hardware", 13: "bad table", 15: "bad conjunction",
	16: "unknown command for options", 17: "bad length of an option", 18: "no such tun_metadata field", 19: "table of options full",
	20: "field already mapped", 21: "option already mapped", 22: "version within a bundle", 23: "queue details",
	34: "resume unsupported", 35: "stale continuation", 36: "not configured", 37: "field of an option that is not mapped", 38: "option in use",
	39: "bad header type", 40: "unknown encapsulation property", 41: "bad encapsulation property",
	42: "action needs conntrack of the datapath", 43: "match needs conntrack of the datapath", 44: "table given twice",
}
