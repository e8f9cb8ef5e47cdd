"""The table of data sets of texts: a new one is one file that reads it, and one row here.

Nothing is imported for a row. Its ``load`` takes ``split`` ("train", "val" or "test"), ``root`` if files are to be
found, and options with defaults; it returns `metaft.data.texts.labelled_texts.LabelledTexts`. Options are given
behind the name, as in ``trec:labels=coarse``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextSet:
    """One data set of texts.

    Args:
        name: as given to ``--dataset``.
        description: one line.
        counts: how much there is, in words.
        licence: and whose.
        load: ``"module:function"``.
        files: below a data root, those that say that it is there; empty where it is built in or the user's own.
        schemes: the ways to split it, the default first; empty where there is just one.
        groups: what groups of its classes are called, such as "domain"; empty where there are none.
        ways: of a task, where commands are told nothing; None for as many as of any data set.
        max_words: that a text may have, unless more are asked for; None for any number.
        tasks: ``"module:function"``, what draws tasks, where they are no episodes of its classes.
        division: ``"module:function"``, how the classes are divided, where that depends on the user's own.
    """

    name: str
    description: str
    counts: str
    licence: str
    load: str
    files: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    groups: str = ""
    ways: int | None = None
    max_words: int | None = None
    division: str = ""
    tasks: str = ""


TEXTS = {
    row.name: row
    for row in (
        TextSet(
            name="intents",
            description="what people ask an assistant for: 150 intents of 10 domains (CLINC150, Larson et al. 2019)",
            counts="75 / 30 / 45 intents × 149 sentences or so (train / val / test)",
            licence="CC BY 3.0 (Clinc, Inc.)",
            load="metaft.data.texts.intents:load",
            schemes=("domains", "random"),
            groups="domain",
        ),
        TextSet(
            name="newsgroups20",
            description="posts of 20 newsgroups, long texts (split of Bao et al. 2020)",
            counts="8 / 5 / 7 groups × 602 to 990 posts (train / val / test)",
            licence="CC BY 4.0 (Tom Mitchell, UCI Machine Learning Repository)",
            load="metaft.data.texts.newsgroups20:load",
            files=("newsgroups20/train.jsonl.gz", "newsgroups20/test.jsonl.gz"),
            schemes=("topics", "random"),
            groups="topic",
            max_words=512,
        ),
        TextSet(
            name="trec",
            description="what a question asks for, in 50 classes of 6 types (Li & Roth 2002)",
            counts="23 / 5 / 11 classes × 17 to 1,010 questions (train / val / test); labels=coarse: 5 or 6 types",
            licence="none stated (Xin Li, Dan Roth, UIUC)",
            load="metaft.data.texts.trec:load",
            files=("trec/qc.zip",),
            schemes=("types", "random"),
            groups="type",
        ),
        TextSet(
            name="semeval-relations",
            description="how two marked words of a sentence are related (SemEval 2010 task 8, Hendrickx et al.)",
            counts="5 / 6 / 6 directed relations × 110 to 1,130 sentences (train / val / test)",
            licence="CC BY 3.0 (Hendrickx et al.)",
            load="metaft.data.texts.semeval_relations:load",
            files=("semeval2010_task8/TRAIN_FILE.TXT", "semeval2010_task8/TEST_FILE_FULL.TXT"),
            groups="relation",
        ),
        TextSet(
            name="sst2",
            description="sentiment of sentences about films (SST-2, Socher et al. 2013); form=phrases: GLUE's phrases",
            counts="6,916 / 872 / 1,821 sentences of 2 classes (train / val / test)",
            licence="none stated (Stanford); sentences: CC BY 4.0 (Pang, Lee)",
            load="metaft.data.texts.sst2:load",
            files=tuple(f"sst2/sentences/{part}.tsv" for part in ("train", "dev", "test")),
            ways=2,
        ),
        TextSet(
            name="mr",
            description="sentiment of sentences about films (Pang & Lee 2005)",
            counts="6,824 / 1,706 / 2,132 sentences of 2 classes (train / val / test)",
            licence="CC BY 4.0 (Pang, Lee)",
            load="metaft.data.texts.mr:load",
            files=("mr/sentence_polarity.zip",),
            ways=2,
        ),
        TextSet(
            name="cr",
            description="sentiment of sentences about products (Hu & Liu 2004)",
            counts="2,407 / 604 / 754 sentences of 2 classes (train / val / test)",
            licence="CC BY 4.0 (Hu, Liu)",
            load="metaft.data.texts.cr:load",
            files=("cr/custrev.pos", "cr/custrev.neg"),
            ways=2,
        ),
        TextSet(
            name="subj",
            description="opinion or plot: subjective and objective sentences about films (Pang & Lee 2004)",
            counts="6,399 / 1,600 / 2,000 sentences of 2 classes (train / val / test)",
            licence="CC BY 4.0 (Pang, Lee)",
            load="metaft.data.texts.subj:load",
            files=("subj/subjectivity.zip",),
            ways=2,
        ),
        TextSet(
            name="ag-news",
            description="topics of news: world, sports, business, science and technology (Zhang et al. 2015)",
            counts="7,989 / 1,999 / 7,600 texts of 4 classes (train / val / test)",
            licence="non-commercial, research (AG's corpus)",
            load="metaft.data.texts.ag_news:load",
            files=("ag_news/train_10k.tsv", "ag_news/test.csv"),
            ways=4,
        ),
        TextSet(
            name="rte",
            description="pairs of sentences: does the first entail the second (RTE of GLUE)",
            counts="1,990 / 498 / 277 pairs of 2 classes (train / val / test)",
            licence="none stated (PASCAL RTE, GLUE)",
            load="metaft.data.texts.rte:load",
            files=("rte/train.tsv", "rte/dev.tsv"),
            ways=2,
        ),
        TextSet(
            name="tastes",
            description="pairs of texts, of which a user prefers one: few-shot preferences, made of another data set",
            counts="users=classes: one class of of=intents to another, 5,550 / 870 / 1,980 users; users=mix: unlimited",
            licence="that of its texts",
            load="metaft.data.texts.tastes:load",
            ways=2,
            tasks="metaft.tasks.tastes:tastes",
        ),
        TextSet(
            name="texts",
            description="your own texts, a CSV, TSV or JSONL file or a folder: --dataset texts --data-root PATH",
            counts="yours; divided by a column or folders that say train, val, test, or 64 : 16 : 20 by a seed; "
            "--split all takes all classes together",
            licence="yours",
            load="metaft.data.texts.own_texts:load",
            schemes=("classes", "examples"),
            division="metaft.data.texts.own_texts:division",
        ),
    )
}
"""Name → row."""
