# Which role may call which tool. Whatever no rule allows is denied.
#
# `input` tells about the call (see the README), `data` holds data.json and, as `data.tools`, the tool table.
package portcullis

# Methods that concern no tool; the list of tools is cut down by `request.visible`.
protocol_methods := {
	"initialize",
	"notifications/cancelled",
	"notifications/initialized",
	"notifications/progress",
	"notifications/roots/list_changed",
	"ping",
	"response/ping",
	"server/discover",
	"tools/list",
}

# One of the subject's roles grants the tool.
granted if {
	some role in input.subject.roles
	input.request.tool in data.roles[role]
}

default request.visible := false

request.visible if granted

request.decision := {
	"allow": true,
	"rule": "protocol",
	"reason": "the method concerns no tool",
	"obligations": {},
} if {
	input.request.method in protocol_methods
} else := {
	"allow": true,
	"rule": "role",
	"reason": "a role of the subject grants the tool",
	"obligations": {},
} if {
	input.request.method == "tools/call"
	granted
} else := {
	"allow": false,
	"rule": "default-deny",
	"reason": "no role of the subject grants the tool",
	"obligations": {},
}

# Answers pass; contact data in them is masked.
response.decision := {
	"allow": true,
	"rule": "answer-masked",
	"reason": "contact data is masked",
	"obligations": {"redact": [{"at": "/contact/email", "action": "mask"}]},
} if {
	input.request.tool == "crm.account.read"
} else := {
	"allow": true,
	"rule": "answer",
	"reason": "nothing in the answer is restricted",
	"obligations": {},
}
