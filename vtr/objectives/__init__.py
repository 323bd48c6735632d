"""What training asks of a model: a batch and a seed in, named loss terms out.

An objective is an `nn.Module` that holds the model as `self.model`, called as `objective(batch, seed, masked=True) ->
{term: ()}`. Where its loss can be split exactly it has the two halves of that call too, and a batch may then go through
in pieces:

    rows(batch, seed, masked) -> {name: (B,...)}   what each sample gives on its own, whatever else is in the batch
    losses(rows) -> {term: ()}                     all that needs several samples; collectives are here

Where a row needs others of its batch for that (SimVTP's wrong pairs), a third one gives them to each piece, which then
are the last argument of `rows`:

    partners(pieces, seed) -> [{name: (B,...)}]    drawn from all pieces of all processes; collectives are here

Rows named "video" and "text" are the vectors whose spread the log tells. An objective without `rows` may say in
`unsplit` why it has none. Modules beside `model` are for training alone: a decoder, a head, a snapshot. A checkpoint
keeps them apart from the model. Two more methods are called where they are there: `after_step(done)` after each step,
one that was left out as not finite too, and `clip_tokens(masked) -> int`, the tokens a clip puts through the encoder,
for the log.
"""
