# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_kdir_global_optspecs
    string join \n d/log-dir= q/quiet v/verbose color= h/help V/version
end

function __fish_kdir_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_kdir_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_kdir_using_subcommand
    set -l cmd (__fish_kdir_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c kdir -n "__fish_kdir_needs_command" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_needs_command" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_needs_command" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_needs_command" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_needs_command" -s V -l version -d 'Print version'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "create" -d 'Create a topic'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "list" -d 'List topics'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "describe" -d 'Describe topics, partition by partition'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "alter" -d 'Change a topic\'s configuration, or add partitions'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "delete" -d 'Delete topics and all their records'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "produce" -d 'Append records from stdin or from files'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "consume" -d 'Print records'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "offsets" -d 'Show the first offset at or after a time, per partition'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "delete-records" -d 'Delete records before an offset or a time'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "retention" -d 'Apply retention once'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "verify" -d 'Check every checksum, record, offset and index entry'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "repair" -d 'Repair what verify finds'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "dump" -d 'Show what is inside the files of a log dir'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c kdir -n "__fish_kdir_needs_command" -f -a "man" -d 'Print a manual page'
complete -c kdir -n "__fish_kdir_using_subcommand create" -s P -l partitions -d 'How many partitions' -r
complete -c kdir -n "__fish_kdir_using_subcommand create" -l retention -d 'How long records are kept: 7d, 36h, 90s, or forever [default: 7d, as in Kafka]' -r
complete -c kdir -n "__fish_kdir_using_subcommand create" -l retention-bytes -d 'How many bytes a partition keeps: 10GB, 512MiB, or unlimited [default: unlimited]' -r
complete -c kdir -n "__fish_kdir_using_subcommand create" -s c -l config -d 'A topic configuration of Kafka\'s, such as segment.bytes=64MiB (can be repeated)' -r
complete -c kdir -n "__fish_kdir_using_subcommand create" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand create" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand create" -l if-not-exists -d 'Leave a topic that exists as it is, and succeed'
complete -c kdir -n "__fish_kdir_using_subcommand create" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand create" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand list" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for a person'
json\t'One JSON object a line'
tsv\t'Tab-separated columns without a header'"
complete -c kdir -n "__fish_kdir_using_subcommand list" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand list" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand list" -s a -l all -d 'List also the folders of partitions that were set aside'
complete -c kdir -n "__fish_kdir_using_subcommand list" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand list" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand describe" -l chart -d 'How many records there were when, as bars' -r -f -a "day\t''
hour\t''
minute\t''"
complete -c kdir -n "__fish_kdir_using_subcommand describe" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for a person'
json\t'One JSON object a line'
tsv\t'Tab-separated columns without a header'"
complete -c kdir -n "__fish_kdir_using_subcommand describe" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand describe" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand describe" -l segments -d 'One row a segment'
complete -c kdir -n "__fish_kdir_using_subcommand describe" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand describe" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand describe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand alter" -s c -l config -d 'A topic configuration of Kafka\'s, such as segment.bytes=64MiB (can be repeated)' -r
complete -c kdir -n "__fish_kdir_using_subcommand alter" -l unset -d 'A key that goes back to Kafka\'s default (can be repeated)' -r
complete -c kdir -n "__fish_kdir_using_subcommand alter" -l retention -d 'How long records are kept: 7d, 36h, 90s, or forever' -r
complete -c kdir -n "__fish_kdir_using_subcommand alter" -l retention-bytes -d 'How many bytes a partition keeps: 10GB, 512MiB, or unlimited' -r
complete -c kdir -n "__fish_kdir_using_subcommand alter" -s P -l partitions -d 'How many partitions the topic is to have; more than now' -r
complete -c kdir -n "__fish_kdir_using_subcommand alter" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand alter" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand alter" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand alter" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand alter" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand delete" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand delete" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand delete" -s y -l yes -d 'Do not ask'
complete -c kdir -n "__fish_kdir_using_subcommand delete" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand delete" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s P -l partitions -d 'How many partitions a topic has that --create makes [default: 1]' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s i -l input -d 'How the input is cut into records' -r -f -a "lines\t''
json\t''
len32\t''
raw\t''"
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s D -l delimiter -d 'What ends a record of -i lines: any bytes; \\n \\t \\r \\0 \\\\ and \\xHH are understood [default: \\n]' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l value-as -d 'What the value of an envelope of -i json is: a string, whose text is stored, or any JSON, stored as it is written' -r -f -a "text\t''
json\t''"
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l rate -d 'Take in at most this many records, or with a unit bytes, a second: 100, 10MiB' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l on-error -d 'What to do about an input that makes no record: stop there, or leave it out and go on [default: stop]' -r -f -a "stop\t''
skip\t''"
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l rejects -d 'Add what is left out to the end of FILE, as it stood in the input; means --on-error skip' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s k -l key -d 'The key of every record' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s K -l key-delimiter -d 'What ends the key of each record, as in -K \'\\t\'; the first one counts, and keys that hold it need -i json' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s H -l header -d 'A header for every record; NAME alone has a null value (can be repeated)' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l headers-delimiter -d 'What ends the headers at the start of each record, before its key: `name:value,name:value`' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l timestamp -d 'The timestamp of every record, in place of the time it is read; -1 is none' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l timestamp-format -d 'Take each record\'s timestamp from the start of its line, as in \'%Y-%m-%d %H:%M:%S\' or rfc3339' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l timestamp-regex -d 'Take it from where REGEX matches in the line: from its first group, or from all of it [default format: rfc3339]' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l timestamp-field -d 'Take it from the field NAME of the JSON object that the line is [default format: rfc3339]' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l timestamp-delimiter -d 'What ends the timestamp at the start of each record, before its headers: ms since the epoch' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s p -l partition -d 'The partition for every record' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l partitioner -d 'How keys choose a partition: as Kafka\'s Java client, as librdkafka\'s `consistent`, or not at all' -r -f -a "murmur2\t''
crc32\t''
round-robin\t''"
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s z -l compression -d 'Compress batches [default: the topic\'s compression.type]' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l batch-size -d 'Gather up to this many bytes into a batch, before compression' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l linger -d 'Wait this long for more when the input stands still, to fill batches better' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l sync -d 'When records are made durable: before more is read, at the end, never, or at least this often' -r
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s o -l output -d '`json`: a line on stdout for each stretch of records that has become durable, and a summary' -r -f -a "text\t'A summary on stderr'
json\t'JSON lines on stdout'"
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l by-topic -d 'In place of TOPIC: each envelope of -i json, read from stdin, goes to the topic that it names'
complete -c kdir -n "__fish_kdir_using_subcommand produce" -l create -d 'Make the topic, with Kafka\'s defaults, where it is missing; with --by-topic each of them'
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s Z -l null-empty -d 'Store empty keys and values as null'
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand produce" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s p -l partition -d 'Only these partitions' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l from-offset -d 'Where to begin [default: earliest]' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l to-offset -d 'Where to stop; the record at this offset is not printed' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l since -d 'Only records at or after this time' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l until -d 'Only records before this time; with --follow, end when it has come' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l tail -d 'Print only the last N matching records by time, across all partitions' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s n -l max-records -d 'Stop after this many records' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l reset -d 'Where to begin when --from-offset is outside the log, in place of an error' -r -f -a "earliest\t''
latest\t''"
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l idle-timeout -d 'With --follow, end when no record was printed for this long' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l cursor-file -d 'Start after what FILE says, and keep there what was printed' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l commit -d 'When a record counts for --cursor-file: when its reader has processed it, or when it was taken out of the pipe' -r -f -a "processed\t''
taken\t''"
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l ack -d 'Read from descriptor FD which records are done [default: 0, stdin]' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l max-in-flight -d 'With --ack, print no more records than N that are not acknowledged' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l speed -d 'Keep the pauses that the timestamps show, divided by X: 1 is as it happened, 10 ten times as fast' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l grep -d 'Only records whose value matches' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l grep-not -d 'Only records whose value does not match' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l key -d 'Only records whose key matches' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l key-not -d 'Only records whose key does not match' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l key-is -d 'Only records whose key is exactly this' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l value-is -d 'Only records whose value is exactly this' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l header -d 'Only records with such a header' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l header-not -d 'Only records without such a header' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l isolation -d 'Whether records of transactions are printed that were aborted or have not ended' -r -f -a "read-uncommitted\t''
read-committed\t''"
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l order -d 'How partitions are merged: by timestamp, then offset, or one after the other, which --tail cannot be used with' -r -f -a "time\t''
partition\t''"
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s o -l output -d 'Form of a record' -r -f -a "value\t''
json\t''
len32\t''
csv\t''
tsv\t''
hex\t''"
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s f -l format -d 'Print each record by a template, as in -f \'%T %k %s\\n\'' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l columns -d 'Columns of -o csv and tsv: topic, partition, offset, timestamp (ms), time (RFC 3339), key, value, header:NAME [default: topic,partition,offset,timestamp,key,value]' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l value-as -d 'In -o json, the value as a string, or as the JSON that it is' -r -f -a "text\t''
json\t''"
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s D -l delimiter -d 'What follows each value: any bytes, or none; \\n \\t \\r \\0 \\\\ and \\xHH are understood [default: \\n]' -r
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l skip-corrupt -d 'Skip corrupt batches and continue after them; the log is not changed'
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s F -l follow -d 'Go on when the end is reached, and print what is appended'
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l exit-status -d 'Exit with status 1 when no record was printed, as grep does'
complete -c kdir -n "__fish_kdir_using_subcommand consume" -l count -d 'Print only how many records there are'
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand consume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand offsets" -l at -d 'earliest, latest, max-timestamp, or a time' -r
complete -c kdir -n "__fish_kdir_using_subcommand offsets" -s p -l partition -d 'Only these partitions' -r
complete -c kdir -n "__fish_kdir_using_subcommand offsets" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for a person'
json\t'One JSON object a line'
tsv\t'Tab-separated columns without a header'"
complete -c kdir -n "__fish_kdir_using_subcommand offsets" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand offsets" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand offsets" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand offsets" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand offsets" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -l before-offset -d 'The new log start offsets, by partition: N, -N to keep the last N, or `latest` to delete all; one number where there is one partition' -r
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -l before -d 'Delete records older than this time: all before the first record at or after it' -r
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for a person'
json\t'One JSON object a line'
tsv\t'Tab-separated columns without a header'"
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -s y -l yes -d 'Do not ask'
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -s n -l dry-run -d 'Show what would be deleted; change nothing'
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand delete-records" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand retention" -l retention -d 'In place of the topics\' retention.ms: 7d, 36h, 90s, or forever' -r
complete -c kdir -n "__fish_kdir_using_subcommand retention" -l retention-bytes -d 'In place of the topics\' retention.bytes: 10GB, 512MiB, or unlimited' -r
complete -c kdir -n "__fish_kdir_using_subcommand retention" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for a person'
json\t'One JSON object a line'
tsv\t'Tab-separated columns without a header'"
complete -c kdir -n "__fish_kdir_using_subcommand retention" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand retention" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand retention" -s n -l dry-run -d 'Show what would be deleted; change nothing'
complete -c kdir -n "__fish_kdir_using_subcommand retention" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand retention" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand retention" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand verify" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for a person'
json\t'One JSON object a line'
tsv\t'Tab-separated columns without a header'"
complete -c kdir -n "__fish_kdir_using_subcommand verify" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand verify" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand verify" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand verify" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand repair" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for a person'
json\t'One JSON object a line'
tsv\t'Tab-separated columns without a header'"
complete -c kdir -n "__fish_kdir_using_subcommand repair" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand repair" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand repair" -s n -l dry-run -d 'Show what is wrong and what would be done; change nothing'
complete -c kdir -n "__fish_kdir_using_subcommand repair" -l accept-loss -d 'Go on without records that are lost or damaged'
complete -c kdir -n "__fish_kdir_using_subcommand repair" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand repair" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand repair" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand dump" -l decode -d 'With --records, decode them as those of this internal topic [default: the one that the file\'s folder is named for]' -r -f -a "consumer-offsets\t''
share-group-state\t''
transaction-state\t''
cluster-metadata\t''
none\t''"
complete -c kdir -n "__fish_kdir_using_subcommand dump" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for a person'
json\t'One JSON object a line'
tsv\t'Tab-separated columns without a header'"
complete -c kdir -n "__fish_kdir_using_subcommand dump" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand dump" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand dump" -l records -d 'Show the records, as JSON lines'
complete -c kdir -n "__fish_kdir_using_subcommand dump" -l ignore-checksum -d 'With --records, show those of batches whose checksum is wrong as well'
complete -c kdir -n "__fish_kdir_using_subcommand dump" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand dump" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand dump" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand completions" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand completions" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand completions" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand completions" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kdir -n "__fish_kdir_using_subcommand man" -s d -l log-dir -d 'The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]' -r -F
complete -c kdir -n "__fish_kdir_using_subcommand man" -l color -d 'When to use colour; records are never coloured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c kdir -n "__fish_kdir_using_subcommand man" -s q -l quiet -d 'Say nothing but errors'
complete -c kdir -n "__fish_kdir_using_subcommand man" -s v -l verbose -d 'Say more of what is done'
complete -c kdir -n "__fish_kdir_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
